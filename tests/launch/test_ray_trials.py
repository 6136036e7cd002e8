"""In which order trials come back that many processes compute; a Ray that decides by lot which of them is done next."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from frostline.advisor import Course, TrialAsked
from frostline.arms import Prepared
from frostline.errors import FrostlineError, RunFolderError, TrainingError
from frostline.interruption import Interruption
from frostline.launch.ray_cluster import Cluster, Needs, Node
from frostline.launch.ray_trials import MOST_LOSSES, Benches, TrialsOnRay
from frostline.launch.trial_bench import BenchAnswer, BenchOrder
from frostline.progress import NoProgress
from frostline.recipe import Recipe
from frostline.run_folder import TrialFinished
from tests.advisor.test_race import trial

NEEDS = Needs(cpus=1, gpus=0.0, memory_bytes=0)


class PretendRayError(Exception):
    """What a lost process gives."""


class PretendTaskError(PretendRayError):
    """What a defect gives."""


@dataclass(eq=False)
class PretendActor:
    """A process that answers by lot, once it has a place."""

    options: dict[str, Any]
    dead: bool = False
    tasks: list[Callable[[], BenchAnswer]] = field(default_factory=list)


@dataclass(eq=False)
class PretendTask:
    actor: PretendActor
    asked: TrialAsked | None


class PretendRay:
    """As much of Ray as benches use: `room` processes at once, of which the lot loses some."""

    exceptions = SimpleNamespace(RayError=PretendRayError, RayTaskError=PretendTaskError)

    def __init__(
        self, lot: random.Random, room: int, losses: float, wrong: BenchAnswer | None = None, others: int = 0
    ) -> None:
        """`others`: so many processes that Ray places freely find themselves on a machine of another kind."""
        self.lot, self.room, self.losses, self.wrong, self.others = lot, room, losses, wrong, others
        self.actors: list[PretendActor] = []
        self.computed = 0

    def remote(self, _: type) -> Any:
        def options(**given: object) -> Any:
            return SimpleNamespace(remote=lambda order: self._made(given))

        return SimpleNamespace(options=options)

    def _made(self, options: dict[str, object]) -> Any:
        actor = PretendActor(options)
        self.actors.append(actor)
        return SimpleNamespace(
            actor=actor,
            prepare=SimpleNamespace(remote=lambda: PretendTask(actor, None)),
            compute=SimpleNamespace(remote=lambda arms, asked: PretendTask(actor, asked)),
        )

    def put(self, value: object) -> object:
        return value

    def kill(self, handle: Any) -> None:
        handle.actor.dead = True
        self.actors.remove(handle.actor)

    def wait(self, tasks: Sequence[PretendTask], **_: object) -> tuple[list[PretendTask], list[PretendTask]]:
        placed = self.actors[: self.room]
        able = [task for task in tasks if task.actor in placed]
        assert able, "nothing is at work: it would wait for ever"
        return [self.lot.choice(able)], []

    def get(self, task: PretendTask) -> BenchAnswer:
        if self.lot.random() < self.losses:
            raise PretendRayError("lost")
        if task.asked is None:
            if self.others and "scheduling_strategy" not in task.actor.options:
                self.others -= 1
                return BenchAnswer(other_kind=True)
            return BenchAnswer()
        if self.wrong is not None:
            return self.wrong
        self.computed += 1
        return BenchAnswer(computed_by(task.asked))


def computed_by(asked: TrialAsked) -> TrialFinished:
    return trial(asked.candidate, loss_at(asked), rate=asked.learning_rate, rung=asked.rung)


def loss_at(asked: TrialAsked) -> float:
    return random.Random(f"{asked.candidate} {asked.learning_rate}").random()


def course_of(name: str, length: int) -> Course:
    """Trials of which each has a rate that follows from the losses before it."""

    def following(computed: Sequence[TrialFinished]) -> TrialAsked | None:
        if len(computed) == length:
            return None
        return TrialAsked(name, 1.0 + sum(sum(own.window_losses) for own in computed), 1, 9)

    return following


def one_after_another(courses: Sequence[Course]) -> list[TrialFinished]:
    found = []
    for course in courses:
        computed: list[TrialFinished] = []
        while (asked := course(computed)) is not None:
            computed.append(computed_by(asked))
        found += computed
    return found


def on_pretended(ray: PretendRay, *, apart: bool = False) -> tuple[TrialsOnRay, Prepared]:
    nodes = [Node("a", 2.0, 0.0, 1e9), Node("b", 1.0, 0.0, 1e9)]
    cluster = SimpleNamespace(ray=ray, nodes=lambda: nodes, on_node=lambda node: node.id)
    benches = Benches(cast("Cluster", cluster), NEEDS, nodes, apart=apart)
    recipe = cast("Recipe", SimpleNamespace(arms={}, source=None))
    trials = TrialsOnRay(benches, cast("BenchOrder", None), recipe, NoProgress(), Interruption())
    return trials, cast("Prepared", SimpleNamespace(recipe=recipe))


@pytest.mark.parametrize("seed", range(40))
def test_trials_come_back_in_the_order_of_one_process_whoever_is_lost(seed: int) -> None:
    lot = random.Random(seed)
    ray = PretendRay(lot, room=lot.randrange(1, 6), losses=lot.choice([0.0, 0.05, 0.2]))
    trials, settled = on_pretended(ray, apart=bool(seed % 2))
    for _ in range(2):  # rungs
        courses = [course_of(f"plan {number}", lot.randrange(5)) for number in range(lot.randrange(1, 9))]
        with trials.of(settled) as compute:
            assert list(compute(courses)) == one_after_another(courses)


def test_machines_that_are_apart_have_no_more_benches_than_room() -> None:
    ray = PretendRay(random.Random(0), room=9, losses=0.0)
    trials, settled = on_pretended(ray, apart=True)
    with trials.of(settled) as compute:
        list(compute([course_of(str(number), 3) for number in range(9)]))
        assert sorted(str(actor.options["scheduling_strategy"]) for actor in ray.actors) == ["a", "a", "b"]


def test_a_machine_of_another_kind_that_comes_later_computes_none() -> None:
    ray = PretendRay(random.Random(0), room=3, losses=0.0, others=3)
    trials, settled = on_pretended(ray)
    courses = [course_of(str(number), 3) for number in range(4)]
    with trials.of(settled) as compute:
        assert list(compute(courses)) == one_after_another(courses)
    assert not ray.others


def test_a_trial_that_is_lost_again_and_again_ends_it_in_a_sentence_and_ends_every_process() -> None:
    ray = PretendRay(random.Random(0), room=2, losses=1.0)
    trials, settled = on_pretended(ray)
    with pytest.raises(TrainingError, match=f"lost {MOST_LOSSES + 1} times in a row"), trials.of(settled) as compute:
        list(compute([course_of("full", 2), course_of("half", 2)]))
    assert not ray.actors


def test_what_a_machine_refuses_ends_it_and_every_process() -> None:
    error = RunFolderError("since it was begun, the corpus changed.")
    ray = PretendRay(random.Random(0), room=2, losses=0.0, wrong=BenchAnswer(error=error))
    trials, settled = on_pretended(ray)
    with pytest.raises(FrostlineError, match="the corpus changed"), trials.of(settled) as compute:
        list(compute([course_of("full", 2)]))
    assert not ray.actors


def test_no_more_is_computed_than_one_process_would_compute() -> None:
    ray = PretendRay(random.Random(3), room=4, losses=0.0)
    trials, settled = on_pretended(ray)
    courses = [course_of(str(number), number) for number in range(6)]
    with trials.of(settled) as compute:
        list(compute(courses))
    assert ray.computed == sum(range(6))
