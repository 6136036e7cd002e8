"""What did each replicate of an arm do? One row a seed: the numbers behind every interval over replicates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from frostline.stats import scalars, stability, trade
from frostline.stats.arm_run import ArmRun
from frostline.stats.estimate import known
from frostline.stats.pairs import Pairs
from frostline.stats.runs import VariantRun


@dataclass(frozen=True)
class SeedResult:
    """One arm of one replicate: the numbers behind the intervals. None where not measured."""

    seed: int
    """Seed of the replicate."""
    held_out_before: float | None
    """Held-out loss before training."""
    held_out_after: float | None
    """Held-out loss at the end."""
    difference: float | None
    """Held-out loss at the end minus the baseline's; None for the baseline."""
    share_of_gain_kept: float | None
    """Fall of the held-out loss over that of the baseline; None for the baseline."""
    training_seconds: float | None
    """Seconds of all steps, untimed ones at the mean, and of its share of filling stored rows."""
    clipped_share: float | None
    """Share of the steps whose gradient was clipped."""
    diverged: bool
    """Whether a loss was not finite, or the held-out loss ended above where it began."""


def by_seed(variant: VariantRun, arm: str, pairs: Pairs) -> list[SeedResult]:
    """Every replicate of `arm` that began; differences where its pair counts."""
    baselines = {} if arm == variant.baseline else {pair.seed: pair.baseline for pair in pairs.pairs}
    limit = variant.recipe.training.gradient_clipping
    return [_result(run, baselines.get(run.seed), limit) for run in variant.of(arm)]


def _result(run: ArmRun, baseline: ArmRun | None, limit: float | None) -> SeedResult:
    after = scalars.held_out_after(run)
    difference = kept = math.nan
    if baseline is not None:
        difference = after - scalars.held_out_after(baseline)
        gained = trade.gain(baseline)
        kept = trade.gain(run) / gained if gained > 0 else math.nan
    return SeedResult(
        seed=run.seed,
        held_out_before=known(scalars.held_out_before(run)),
        held_out_after=known(after),
        difference=known(difference),
        share_of_gain_kept=known(kept),
        training_seconds=known(trade.training_seconds(run)),
        clipped_share=known(stability.clipped(run, limit)),
        diverged=stability.diverged(run),
    )
