"""Who gives out the parts of an experiment, and again where a machine is lost? The driver, one process.

Each part is one task of Ray, without retries of Ray's own: the driver begins a lost part again, from its checkpoint
where the machines see the run folder, else anew. What is done is taken in at once, so that the driver holds no more
than the answers to what is at work.
"""

from __future__ import annotations

import importlib
import json
import statistics
from collections import Counter, deque
from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from frostline.errors import FrostlineError, TrainingError
from frostline.experiment import REPORT_SECONDS, Head, Part, Unit
from frostline.interruption import Interruption
from frostline.launch.part_folder import Beginning, attempts_in, part_folder, reached, read_done, unpack
from frostline.launch.part_work import Answer, Order
from frostline.launch.ray_board import Board
from frostline.launch.ray_cluster import Cluster, Machine, Needs, Node
from frostline.launch.taking_in import TakenIn, take_in
from frostline.progress import RunProgress, UnitState
from frostline.recipe import Recipe
from frostline.run_folder import ArmFailed, SameBits, append_unit_record

MOST_LOSSES = 8
"""How often a part may be lost in a row without having gained anything, before the run stops."""
MOST_GIVEN_OUT = 256
"""Tasks that wait in Ray or are at work: enough for Ray to see what there is to do."""
LOOK_SECONDS = 0.5


@dataclass
class Job:
    """A part that is to be done."""

    part: Part
    order: Order
    attempts: int = 0
    losses: int = 0
    """In a row, without a gain."""
    reached: dict[str, int] = field(default_factory=dict)
    """How far it had come when it was lost, by the best of its attempts."""
    cancelled: bool = False


@dataclass
class _Bits:
    """The short unit that is computed twice."""

    kind: str
    order: Order
    nodes: list[Node]
    """Machines of the kind, as they were when the run began."""
    found: list[tuple[str, str]] = field(default_factory=list)
    """The cluster's name of a machine, and what it computed."""
    losses: int = 0


class Driver:
    """Gives out parts until all are done. The lock of the run folder is held."""

    def __init__(
        self,
        cluster: Cluster,
        needs: Needs,
        run_folder: Path,
        recipe: Recipe,
        progress: RunProgress,
        interruption: Interruption,
        *,
        done: int,
        total: int,
    ) -> None:
        """`done` of `total` units are in the run folder already."""
        self._cluster, self._ray, self._needs = cluster, cluster.ray, needs
        self._run_folder, self._recipe = run_folder, recipe
        self._progress, self._interruption = progress, interruption
        self._done, self._total = done, total
        tasks = importlib.import_module("frostline.launch.ray_tasks")
        self._options: dict[str, Any] = {**needs.options, "max_retries": 0}
        self._part_task = self._ray.remote(tasks.part_task)
        self._bits_task = self._ray.remote(tasks.bits_task)
        self._board: Any = self._ray.remote(Board).options(num_cpus=0, max_restarts=-1).remote()
        self._beginning: Any = None
        self._working: dict[Any, Job] = {}
        self._checking: dict[Any, tuple[_Bits, Node]] = {}
        self._waiting: deque[Job] = deque()
        self._stopping = False
        self._trouble: FrostlineError | None = None
        self._seconds: list[float] = []
        self._states_asked: Any = None
        self._states: dict[str, UnitState] = {}

    def do_head(self, order: Order, beginning: Beginning | None) -> None:
        """Have the head done. Raises `FrostlineError` for what is wrong with the recipe, the models or the texts."""
        self._beginning = beginning
        self._waiting.append(Job(order.part, order))
        self._drive()

    def do_parts(self, orders: Sequence[Order], beginning: Beginning) -> None:
        """Have units and tails done. Raises `FrostlineError` where that cannot go on; what is done is taken in."""
        self._beginning = self._ray.put(beginning)
        self._waiting.extend(Job(order.part, order) for order in orders)
        self._drive()

    def check_bits(self, machines: Sequence[Machine], order: Order) -> None:
        """Have the short unit computed twice beside the parts, on two machines of the kind that there are most of."""
        able = [machine for machine in machines if self._needs.fits(machine.node)]
        if not able:
            return
        (kind, _), *_ = Counter(machine.kind for machine in able).most_common(1)
        nodes = [machine.node for machine in able if machine.kind == kind]
        bits = _Bits(kind, order, nodes)
        for node in (nodes[0], nodes[:2][-1]):
            self._compute_bits(bits, node)

    def _compute_bits(self, bits: _Bits, node: Node) -> None:
        strategy = self._cluster.on_node(node)
        task = self._bits_task.options(**self._options, scheduling_strategy=strategy).remote(bits.order)
        self._checking[task] = bits, node

    def stop(self) -> None:
        """Have what is at work save and stop, and take in what is done."""
        self._stopping = True
        self._waiting.clear()
        self._forget_checks()
        self._drive()

    def _drive(self) -> None:
        while self._waiting or self._working or self._checking:
            # A signal waits for the end of the block: nothing is given out or taken in by half.
            with self._interruption.deferred():
                self._give_out()
                tasks = [*self._working, *self._checking]
                ready, _ = self._ray.wait(tasks, num_returns=1, timeout=LOOK_SECONDS)
                for task in ready:
                    if task in self._checking:
                        self._take_bits(task)
                    else:
                        self._take_answer(task, self._working.pop(task))
                self._show()
        if self._trouble is not None:
            raise self._trouble

    def _give_out(self) -> None:
        while self._waiting and len(self._working) < MOST_GIVEN_OUT and not self._stopping:
            job = self._waiting.popleft()
            folder = part_folder(self._run_folder, job.part.name)
            number = max([job.attempts, *(one + 1 for one in attempts_in(folder))])
            job.attempts += 1
            order = replace(job.order, attempt=number)
            name = f"frostline {job.part.name}"
            task = self._part_task.options(name=name, **self._options).remote(order, self._beginning, self._board)
            self._working[task] = job

    def _take_answer(self, task: Any, job: Job) -> None:  # noqa: ANN401  # a reference of Ray
        errors = self._ray.exceptions
        with suppress(errors.RayError):
            self._board.forget.remote(job.part.name)
        self._states.pop(job.part.name, None)
        try:
            answer: Answer = self._ray.get(task)
        except errors.TaskCancelledError:
            if not self._stopping:
                self._waiting.append(job)
            return
        except errors.RayTaskError:
            raise  # a defect, with its traceback
        except errors.RayError as error:
            self._lost(job, error)
            return
        if answer.error is not None:
            self._give_up(answer.error)
        elif answer.status == "interrupted":
            if not self._stopping:
                self._waiting.append(job)
        else:
            self._finished(job, answer)

    def _lost(self, job: Job, error: Exception) -> None:
        """Begin the part again; not for ever, where nothing is gained by it."""
        if self._stopping:
            return
        folder = part_folder(self._run_folder, job.part.name)
        if read_done(folder) is not None:  # it had sealed what it did
            self._finished(job, Answer("finished"))
            return
        found = reached(folder, retry_failed=job.order.retry_failed)
        gained = any(count > job.reached.get(name, 0) for name, count in found.items())
        job.reached |= {name: max(count, job.reached.get(name, 0)) for name, count in found.items()}
        job.losses = 1 if gained else job.losses + 1
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        title = job.part.title
        if job.losses > MOST_LOSSES:
            self._give_up(
                TrainingError(
                    f"{title}: its machine or process was lost {job.losses} times in a row ({type(error).__name__}: "
                    f"{why}).",
                    "What was done is kept: go on with 'frostline resume'; resources.memory_gb asks for more memory.",
                )
            )
            return
        self._progress.say(f"{title}: its machine or process was lost ({type(error).__name__}), and it is begun again")
        self._waiting.appendleft(job)

    def _give_up(self, error: FrostlineError) -> None:
        """Nothing more is begun, what is at work saves and stops; then `error` is raised."""
        if self._trouble is None:
            if error.keys:  # whoever met it knows the key, and not the file
                error.place = ""
                self._recipe.source.locate(error)
            self._trouble = error
        self._stopping = True
        self._waiting.clear()
        self._forget_checks()

    def _finished(self, job: Job, answer: Answer) -> None:
        """Take in what a machine has done. A full disk stops the run, and what was done stays where it is."""
        try:
            if answer.files is not None:
                unpack(part_folder(self._run_folder, job.part.name), answer.files)
            if isinstance(job.part, Head):
                return  # taken in by whoever asked for it
            taken = take_in(self._run_folder, self._recipe, job.part, job.attempts)
        except FrostlineError as error:
            self._give_up(error)
            return
        if taken is None:
            self._lost(job, FrostlineError(f"{job.part.name}: what it gave back is not whole."))
            return
        self._told(job, taken)
        if isinstance(job.part, Unit):
            self._done += 1
            self._seconds.append(answer.seconds)

    def _told(self, job: Job, taken: TakenIn) -> None:
        """Say what the user should know of it."""
        title = job.part.title
        for lines in (taken.done.journals[name] for name in sorted(taken.done.journals)):
            for failed in _failures(lines):
                self._progress.say(f"Arm {failed[0]} failed, {title}, the others go on: {failed[1]}")
        for name in taken.differs:
            arm = name.removesuffix(".jsonl").partition("-")[2]
            self._progress.say(f"{arm}: done twice, and not to the same bits; the first one stays")

    def _take_bits(self, task: Any) -> None:  # noqa: ANN401
        bits, node = self._checking.pop(task)
        errors = self._ray.exceptions
        try:
            bits.found.append((node.id, self._ray.get(task)))
        except errors.RayTaskError as error:
            self._give_up_check(error.cause)
            return
        except errors.RayError as error:
            self._lost_check(bits, node, error)
            return
        if len(bits.found) == 2:
            (first, bits_of_first), (second, bits_of_second) = bits.found
            same = bits_of_first == bits_of_second
            append_unit_record(self._run_folder, SameBits(bits.kind, [first, second], same))
            places = "two machines of one kind" if first != second else "one machine"
            found = "the same bits" if same else "other bits each time: results depend on where they were computed"
            self._progress.say(f"A short unit, computed twice on {places}, gave {found}")

    def _lost_check(self, bits: _Bits, node: Node, error: Exception) -> None:
        """Compute the short unit again on a machine of the kind: where it was, else elsewhere, where there is one."""
        if self._stopping:
            return
        bits.losses += 1
        there = {one.id for one in self._cluster.nodes()}
        left = [one for one in (node, *bits.nodes) if one.id in there]
        if not left:
            self._give_up_check("no machine of that kind is left")
            return
        if bits.losses > MOST_LOSSES:
            self._give_up_check(f"its machine or process was lost {bits.losses} times ({type(error).__name__})")
            return
        others = {name for name, _ in bits.found} | {other.id for _, other in self._checking.values()}
        # Another machine than the other result's, where there is one: two machines tell more.
        self._compute_bits(bits, next((one for one in left if one.id not in others), left[0]))

    def _give_up_check(self, why: object) -> None:
        self._progress.say(f"Whether machines of one kind give the same bits could not be checked: {why}")
        self._forget_checks()

    def _forget_checks(self) -> None:
        for task in list(self._checking):
            with suppress(self._ray.exceptions.RayError):
                self._ray.cancel(task, force=True)
        self._checking.clear()

    def _show(self) -> None:
        """Tell how far the units are, as the board had it at the last look."""
        errors = self._ray.exceptions
        try:
            if self._states_asked is None:
                self._states_asked = self._board.read.remote(stop=self._stopping)
            elif self._ray.wait([self._states_asked], timeout=0)[0]:
                self._states = dict(self._ray.get(self._states_asked))
                self._states_asked = self._board.read.remote(stop=self._stopping)
        except errors.RayError:
            self._states_asked = None
        working = {job.part.name for job in self._working.values()}
        shown = {name: state for name, state in sorted(self._states.items()) if name in working}
        self._progress.units(self._done, self._total, shown)
        if self._stopping:
            self._cancel_waiting(shown)
        elif self._seconds and (shown or self._done == self._total):
            turns = -(-(self._total - self._done) // max(1, len(shown)))
            self._progress.left(REPORT_SECONDS + statistics.median(self._seconds) * turns)

    def _cancel_waiting(self, begun: Container[str]) -> None:
        """What Ray has not begun yet is not begun any more."""
        for task, job in self._working.items():
            if job.part.name not in begun and not job.cancelled:
                job.cancelled = True
                with suppress(self._ray.exceptions.RayError):
                    self._ray.cancel(task)


def _failures(journal: bytes) -> list[tuple[str, str]]:
    """The arm that failed, by the last line of its journal, and why; nothing where it has not."""
    lines = journal.splitlines()
    last = json.loads(lines[-1]) if lines else {}
    return [(last["arm"], last["cause"])] if last.get("kind") == ArmFailed.__name__ else []
