"""Who computes the next trial of each candidate? Benches: processes of a cluster of Ray, where there is room for them.

A bench has the resources of a unit for as long as the advice lasts. What comes too early waits: trials are given back
in the order of one process. A trial whose bench is lost is given to another.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from frostline.advisor import Compute, Course, TrialAsked, Trials
from frostline.errors import FrostlineError, TrainingError
from frostline.interruption import Interruption
from frostline.launch.ray_cluster import Cluster, Needs, Node
from frostline.launch.trial_bench import Arms, BenchAnswer, BenchOrder, TrialBench
from frostline.progress import RunProgress
from frostline.recipe import Recipe
from frostline.run_folder import TrialFinished

if TYPE_CHECKING:
    from frostline.arms import Prepared

MOST_LOSSES = 8
"""How often a trial may be lost in a row, or a bench that has computed none, before the advice stops."""
LOOK_SECONDS = 0.5


@dataclass(eq=False)
class Bench:
    """A process of the cluster that computes trials."""

    actor: Any
    """Ray's handle of it."""
    node: str
    """The machine that it must run on; '' where Ray may choose."""
    ready: bool = False
    """Whether it has prepared what the advice is on."""


class Benches:
    """Has benches made, where there is room for them, and ends them."""

    def __init__(self, cluster: Cluster, needs: Needs, known: Sequence[Node], *, apart: bool) -> None:
        """`known` are machines on which benches can run; `apart`: there are others on which they cannot."""
        self.ray = cluster.ray
        self._cluster, self._needs = cluster, needs
        self._known, self._apart = list(known), apart
        self._actor = self.ray.remote(TrialBench)
        self.all: list[Bench] = []

    def keep_to_known(self) -> bool:
        """From now on, benches begin on those machines alone that were looked at; whether that is new."""
        before, self._apart = self._apart, True
        return not before

    def make(self, order: Any) -> Bench | None:  # noqa: ANN401  # a reference of Ray
        """Another bench for `order`, which begins once there is room; None where the machines have no more."""
        options: dict[str, Any] = {**self._needs.options, "max_restarts": 0, "max_task_retries": 0}
        node = ""
        if self._apart:
            alive = {own.id for own in self._cluster.nodes()}
            taken = Counter(bench.node for bench in self.all)
            free = [own for own in self._known if own.id in alive and taken[own.id] < self._needs.times_on(own)]
            if not free:
                return None
            chosen = min(free, key=lambda own: taken[own.id])
            node, options["scheduling_strategy"] = chosen.id, self._cluster.on_node(chosen)
        bench = Bench(self._actor.options(**options).remote(order), node)
        self.all.append(bench)
        return bench

    def end(self, bench: Bench) -> None:
        """End the process at once, whatever it is at."""
        self.all.remove(bench)
        with suppress(self.ray.exceptions.RayError):
            self.ray.kill(bench.actor)

    def end_all(self) -> None:
        """End every bench at once."""
        for bench in list(self.all):
            self.end(bench)


@dataclass(eq=False)
class Lane:
    """A course of trials as it is computed."""

    course: Course
    asked: TrialAsked | None
    """The trial that is to be computed next, or is at work."""
    computed: list[TrialFinished] = field(default_factory=list)
    early: deque[TrialFinished] = field(default_factory=deque)
    """Trials that wait for those of the courses before."""
    at_work: bool = False
    losses: int = 0
    """Of the trial that is asked for, in a row."""


class TrialsOnRay(Trials):
    """Trials of an advice, given to benches."""

    def __init__(
        self, benches: Benches, order: BenchOrder, recipe: Recipe, progress: RunProgress, interruption: Interruption
    ) -> None:
        self._benches, self._order, self._recipe = benches, order, recipe
        self._progress, self._interruption = progress, interruption
        self._ray = benches.ray
        self._shared_order: Any = None
        self._working: dict[Any, tuple[Bench, Lane | None]] = {}
        self._lost_before_a_trial = 0

    @contextmanager
    def of(self, settled: Prepared) -> Iterator[Compute]:
        """See `Trials.of`."""
        arms: Arms = {
            name: arm.model_dump(mode="json", exclude_defaults=True) for name, arm in settled.recipe.arms.items()
        }

        def compute(courses: Sequence[Course]) -> Iterator[TrialFinished]:
            lanes = [Lane(course, course(())) for course in courses]
            for lane in lanes:
                while lane.early or lane.asked is not None:
                    if not lane.early:
                        self._go_on(lanes, arms)
                        continue
                    yield lane.early.popleft()

        try:
            yield compute
        except BaseException:
            self._benches.end_all()
            raise

    def _go_on(self, lanes: Sequence[Lane], arms: Arms) -> None:
        """Give out what can be computed now, and take in what is."""
        # A signal waits for the end of the block, so that no bench is forgotten.
        with self._interruption.deferred():
            self._make_benches(sum(lane.asked is not None for lane in lanes))
            self._give_out(lanes, arms)
            done, _ = self._ray.wait(list(self._working), num_returns=1, timeout=LOOK_SECONDS)
            for task in done:
                bench, lane = self._working.pop(task)
                self._take(task, bench, lane)

    def _make_benches(self, wanted: int) -> None:
        """As many benches as there are trials to compute at once; those that have not begun by then are not needed."""
        for bench in reversed([bench for bench in self._benches.all if not bench.ready]):  # those made last wait
            if len(self._benches.all) <= wanted:
                break
            self._forget(bench)
        while len(self._benches.all) < wanted:
            if self._shared_order is None:
                self._shared_order = self._ray.put(self._order)
            made = self._benches.make(self._shared_order)
            if made is None:
                break
            self._working[made.actor.prepare.remote()] = (made, None)
        if not self._benches.all:
            raise TrainingError(
                "no machine of the kind of this one is left in the cluster.",
                "What was found is kept: go on with the same command.",
            )

    def _give_out(self, lanes: Sequence[Lane], arms: Arms) -> None:
        busy = {id(bench) for bench, _ in self._working.values()}
        idle = [bench for bench in self._benches.all if bench.ready and id(bench) not in busy]
        waiting = [lane for lane in lanes if lane.asked is not None and not lane.at_work]
        for bench, lane in zip(idle, waiting, strict=False):
            lane.at_work = True
            self._working[bench.actor.compute.remote(arms, lane.asked)] = (bench, lane)

    def _take(self, task: Any, bench: Bench, lane: Lane | None) -> None:  # noqa: ANN401
        errors = self._ray.exceptions
        if lane is not None:
            lane.at_work = False
        try:
            answer: BenchAnswer = self._ray.get(task)
        except errors.RayTaskError:
            raise  # a defect, with its traceback
        except errors.RayError as error:  # its process, or its machine
            self._lost(bench, lane, error)
            return
        if answer.error is not None:
            raise self._located(answer.error)
        if answer.other_kind:
            self._leave_out(bench)
        elif lane is None:
            bench.ready = True
        elif answer.trial is not None:
            lane.losses = self._lost_before_a_trial = 0
            lane.computed.append(answer.trial)
            lane.early.append(answer.trial)
            lane.asked = lane.course(lane.computed)

    def _lost(self, bench: Bench, lane: Lane | None, error: Exception) -> None:
        """Give the trial to another bench; not for ever."""
        self._forget(bench)
        if lane is None:
            self._lost_before_a_trial += 1
            losses, what = self._lost_before_a_trial, "a process that was to compute trials"
        else:
            assert lane.asked is not None
            lane.losses += 1
            losses, what = lane.losses, f"{lane.asked.candidate} at {lane.asked.learning_rate:.2g}"
        if losses > MOST_LOSSES:
            why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise TrainingError(
                f"{what}: its machine or process was lost {losses} times in a row ({type(error).__name__}: {why}).",
                "What was found is kept: go on with the same command; resources.memory_gb asks for more memory.",
            )
        again = "is begun" if lane is None else "is computed"
        self._progress.say(f"{what}: its machine or process was lost ({type(error).__name__}), and it {again} again")

    def _leave_out(self, bench: Bench) -> None:
        """A machine of another kind has come: from now on benches run on those alone that were looked at."""
        self._forget(bench)
        if self._benches.keep_to_known():
            self._progress.say("A machine of another kind than this one computes no trials")

    def _forget(self, bench: Bench) -> None:
        self._benches.end(bench)
        for task in [task for task, (own, _) in self._working.items() if own is bench]:
            del self._working[task]

    def _located(self, error: FrostlineError) -> FrostlineError:
        if error.keys:  # whoever met it knows the key, and not the file
            error.place = ""
            self._recipe.source.locate(error)
        return error
