"""How long will the whole run still take? What is left of each kind of work, at the machine's present pace.

Before a kind of work was done once, its time is guessed from its arithmetic and the speed of this machine; from then on
it is what the last few took. Nothing follows from it but what is shown.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from frostline.arms import USUAL_TRIALS, Prepared, filled_layers, tokens_of_a_step, trial_training
from frostline.engine import measured_peak
from frostline.run_folder import ArmPlace

PRESENT = 5
"""Pieces of one kind whose median is the present pace."""
SAMPLE_SIZE = 512
"""Rows and columns of the matrices whose product tells the machine's speed: large enough to guess by."""
SHARE_OF_SPEED, SHARE_WHEN_SAMPLING = 0.5, 0.1
"""What a step, and what writing text token by token, makes of that speed."""
SETTLING_WINDOWS = 20
"""Windows that the engine reads to find out which of its shortcuts an arm can use, at its first beginning."""
COPIED_BYTES_PER_SECOND = 1e9
"""Copying and hashing the model, which is all that an arm's later beginnings do."""
PROCESS_SECONDS, REPORT_SECONDS = 10.0, 5.0
"""Until a process of its own has loaded what it needs; summary and report."""

ARITHMETIC = frozenset({"settle", "fill", "step", "evaluate"})
"""Kinds of work that wait for the processor alone: how far a guess about one is off tells of the others."""

Kind = Literal["settle", "fill", "begin", "step", "evaluate", "text", "memory", "report"]


@dataclass(frozen=True)
class Work:
    """A kind of work: its pieces take about as long in every replicate, those of some kinds for every arm."""

    kind: Kind
    arm: str = ""


class TimeLeft:
    """What is left of a run. `tell` is told how many seconds that will take, whenever a piece of work has ended."""

    def __init__(
        self,
        tell: Callable[[float], None] = lambda seconds: None,
        now: Callable[[], float] = time.monotonic,
        begins: Callable[[ArmPlace, str, int], None] = lambda place, kind, left: None,
    ) -> None:
        """`begins` is told of each piece of work: its place, its kind, and how many are left there."""
        self._tell, self._now, self._begins = tell, now, begins
        self._left: dict[ArmPlace, Counter[Work]] = defaultdict(Counter)
        self._guesses: dict[Work, float] = {}
        self._taken: dict[Work, deque[float]] = defaultdict(lambda: deque(maxlen=PRESENT))

    def expect(self, place: ArmPlace, work: Work, pieces: int, guess: float) -> None:
        """`pieces` of `work` are to be done at `place`, each of about `guess` seconds."""
        self._left[place][work] += pieces
        self._guesses[work] = guess

    def forget(self, place: ArmPlace) -> None:
        """Nothing is left to be done at `place`."""
        self._left.pop(place, None)

    def skip(self, place: ArmPlace, work: Work, pieces: int) -> None:
        """So many pieces were done by an earlier process."""
        self._left[place][work] -= pieces

    def beginning(self, place: ArmPlace) -> Work:
        """The work of beginning with the arm at `place`: its first beginning also settles how the engine trains it."""
        settle = Work("settle", place.arm)
        return settle if self._left[place][settle] > 0 else Work("begin", place.arm)

    @contextmanager
    def doing(self, place: ArmPlace, work: Work) -> Iterator[None]:
        """One piece of `work` is done in this block."""
        self._begins(place, work.kind, self._left[place][work])
        began = self._now()
        try:
            yield
        finally:
            self._taken[work].append(self._now() - began)
            self._left[place][work] -= 1
            self._tell(self.seconds())

    def seconds(self) -> float:
        """How long all that is left will take, at the present pace."""
        paces = {work: statistics.median(taken) for work, taken in self._taken.items()}
        slower = [
            pace / self._guesses[work]
            for work, pace in paces.items()
            if work.kind in ARITHMETIC and self._guesses.get(work)
        ]
        factor = statistics.median(slower) if slower else 1.0

        def guess(work: Work) -> float:
            return self._guesses.get(work, 0.0) * (factor if work.kind in ARITHMETIC else 1.0)

        return sum(
            pieces * (paces[work] if work in paces else guess(work))
            for left in self._left.values()
            for work, pieces in left.items()
            if pieces > 0
        )


def expect_run(time_left: TimeLeft, prepared: Prepared, variants: Sequence[str], only_seed: int | None = None) -> None:
    """Tell `time_left` of all that a run of these variants does, of one replicate or of all, judged by one variant."""
    recipe, measures = prepared.recipe, prepared.recipe.measures
    speed = SHARE_OF_SPEED * measured_peak(prepared.device, prepared.precision, size=SAMPLE_SIZE)
    full = max(arm.cost.full_step_flops for arm in prepared.arms.values())
    token = full / 3 / tokens_of_a_step(recipe) / speed  # a forward pass is a third of a full step
    corpora = [prepared.corpus] if prepared.retention is None else [prepared.corpus, prepared.retention]
    evaluation = token * sum(corpus.held_out_windows * corpus.window_length for corpus in corpora)
    sampling = measures.sampling
    written = sampling.prompt_tokens + sampling.new_tokens / SHARE_WHEN_SAMPLING
    text = token * sampling.prompts * sampling.draws * written
    every = measures.evaluate_every
    copy = 4 * sum(parameter.numel() for parameter in prepared.model.parameters()) / COPIED_BYTES_PER_SECOND
    layers = filled_layers(prepared)
    seeds = recipe.seeds if only_seed is None else (only_seed,)
    read = len(seeds) * max(arm.steps for arm in prepared.arms.values()) * tokens_of_a_step(recipe)
    filled = token * min(read, prepared.corpus.windows * recipe.windows.length)
    for variant in variants:
        if layers:
            whole = next(iter(prepared.arms.values())).resolved.layers
            time_left.expect(of_the_fill(variant), Work("fill"), layers, filled / whole)
        for seed in seeds:
            time_left.expect(ArmPlace(variant, seed, ""), Work("text"), int(sampling.prompts > 0), text)
        for name, arm in prepared.arms.items():
            step, steps = arm.cost.step_flops / speed, arm.steps
            settling = token * recipe.windows.length * SETTLING_WINDOWS
            for seed in seeds:
                place = ArmPlace(variant, seed, name)
                settles = not arm.raced and seed == seeds[0]
                time_left.expect(place, Work("settle", name), int(settles), settling)
                time_left.expect(place, Work("begin", name), int(not settles), copy)
                time_left.expect(place, Work("step", name), steps, step)
                time_left.expect(place, Work("evaluate"), 1 + ((steps - 1) // every if every else 0), evaluation)
                time_left.expect(place, Work("text"), int(sampling.prompts > 0), text)
            if arm.raced:
                race, trial = (
                    of_the_race(variant, name),
                    trial_training(recipe.training.of_steps(arm.steps), arm.resolved),
                )
                time_left.expect(race, Work("settle", name), 1, settling)
                time_left.expect(race, Work("begin", name), USUAL_TRIALS - 1, copy)
                time_left.expect(race, Work("step", name), USUAL_TRIALS * trial.steps, step)
            memory = PROCESS_SECONDS + settling + 2 * step
            time_left.expect(
                of_the_run(variant, name),
                Work("memory", name),
                int(measures.memory and not prepared.is_sharded),
                memory,
            )
    time_left.expect(of_the_run(), Work("report"), 1, REPORT_SECONDS)


def of_the_race(variant: str, arm: str) -> ArmPlace:
    """The place of an arm's race of learning rates."""
    return ArmPlace(variant, -2, arm)


def of_the_fill(variant: str) -> ArmPlace:
    """The place of the fill of stored rows, which all arms share."""
    return ArmPlace(variant, -3, "")


def of_the_run(variant: str = "", arm: str = "") -> ArmPlace:
    """The place of what belongs to no replicate."""
    return ArmPlace(variant, -1, arm)
