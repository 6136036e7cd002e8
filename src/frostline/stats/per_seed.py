"""What did each replicate of an arm do? One row a seed: the numbers behind every interval over replicates."""

from __future__ import annotations

import math

from frostline.stats import scalars, stability, trade
from frostline.stats.pairs import Pairs
from frostline.stats.runs import ArmRun, VariantRun
from frostline.stats.summary import SeedResult


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
        held_out_before=_known(scalars.held_out_before(run)),
        held_out_after=_known(after),
        difference=_known(difference),
        share_of_gain_kept=_known(kept),
        training_seconds=_known(trade.training_seconds(run)),
        clipped_share=_known(stability.clipped(run, limit)),
        diverged=stability.diverged(run),
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
