"""Which numbers belong together? The same seed of two arms of one variant; what failed is left out, and said so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from frostline.stats.arm_run import ArmRun
from frostline.stats.runs import VariantRun

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """One replicate of an arm beside the same replicate of the baseline."""

    seed: int
    arm: ArmRun
    baseline: ArmRun
    beside: ArmRun | None = None
    """The baseline with the times that the unit of the arm took for its own, where the journal has another unit's."""

    @property
    def steps(self) -> int:
        """Steps that both took; both count them from 0."""
        return min(len(self.arm.losses), len(self.baseline.losses))

    @property
    def interrupted(self) -> bool:
        """Whether one of them did not finish: then both are looked at as far as the other came."""
        return self.arm.finished is None or self.baseline.finished is None

    @property
    def losses(self) -> tuple[Floats, Floats]:
        """Training loss of arm and baseline at each common step, nats."""
        return self.arm.losses[: self.steps], self.baseline.losses[: self.steps]

    @property
    def timed_seconds(self) -> Floats:
        """Seconds of the arm and of the baseline at each common timed step, [steps, 2]."""
        n = self.steps
        timed = self.arm.timed[:n] & self.baseline.timed[:n]
        return np.column_stack([self.arm.seconds[:n], self.baseline.seconds[:n]])[timed]

    @property
    def side_by_side(self) -> bool:
        """Whether both were trained in one run, there in one unit, and `alike`: only then do their times compare.

        Of units that have each trained a baseline, `Pairs.side_by_side` puts the arm's own in place first.
        """
        return self.in_one_run and self.alike

    @property
    def in_one_run(self) -> bool:
        """Whether both were trained in one run, and there in one unit."""
        arm, baseline = self.arm, self.baseline
        return arm.trained_by == baseline.trained_by and arm.unit == baseline.unit

    @property
    def alike(self) -> bool:
        """Whether both were computed by the same number of processes, from the first step to the last."""
        return self.arm.processes == self.baseline.processes and len(self.arm.processes) < 2

    def difference(self, measure: Callable[[ArmRun], float]) -> float:
        """`measure` of the arm minus that of the baseline; NaN where either is missing."""
        return measure(self.arm) - measure(self.baseline)


@dataclass(frozen=True)
class Pairs:
    """All pairs of one arm with the baseline, in the order of their seeds."""

    arm: str
    baseline: str
    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...]
    """One phrase for each replicate that has no pair."""

    def side_by_side(self) -> Pairs:
        """The pairs whose times can be compared, with the baseline of the arm's own unit."""
        own = (pair if pair.beside is None else replace(pair, baseline=pair.beside) for pair in self.pairs)
        return replace(self, pairs=tuple(pair for pair in own if pair.side_by_side))

    def differences(self, measure: Callable[[ArmRun], float]) -> Floats:
        """One finite difference a replicate that has one, [replicates]."""
        values = np.array([pair.difference(measure) for pair in self.pairs], dtype=np.float64)
        return values[np.isfinite(values)]


def pairs_of(variant: VariantRun, arm: str) -> Pairs:
    """Pair the replicates of `arm` with those of the baseline that count; see `VariantRun.counting`."""
    own = {run.seed: run for run in variant.counting(arm)}
    others = {run.seed: run for run in variant.counting(variant.baseline)}
    pairs = tuple(
        _pair(seed, own[seed], others[seed], variant.baselines_beside.get(own[seed].unit))
        for seed in variant.seeds
        if seed in own and seed in others
    )
    left_out = tuple(
        f"seed {seed} ({_why(variant, seed, arm if seed not in own else variant.baseline)})"
        for seed in variant.seeds
        if seed not in own or seed not in others
    )
    return Pairs(arm, variant.baseline, pairs, left_out)


def _pair(seed: int, arm: ArmRun, baseline: ArmRun, beside: ArmRun | None) -> Pair:
    """Both as they ended; where one was interrupted, as they stood after the last step that both took."""
    if arm.finished is not None and baseline.finished is not None:
        return Pair(seed, arm, baseline, beside)
    steps = min(len(arm.losses), len(baseline.losses))
    return Pair(seed, arm.until(steps), baseline.until(steps), None if beside is None else beside.until(steps))


def all_pairs(variant: VariantRun, arms: Sequence[str] | None = None) -> list[Pairs]:
    """Pairs of `arms` (all but the baseline unless named) with the baseline."""
    names = variant.arms if arms is None else arms
    return [pairs_of(variant, arm) for arm in names if arm != variant.baseline]


def _why(variant: VariantRun, seed: int, arm: str) -> str:
    run = variant.runs.get((seed, arm))
    if run is None:
        return f"{arm} did not begin"
    return f"{arm} failed" if run.failed is not None else f"{arm} did not finish"
