"""Which arms are worth having? Those that no other beats in loss without costing more: the front of loss against cost.

An arm is beaten by another that ends at a loss as low or lower and costs as little or less, one of the two being
strict. It is surely beaten where the 95 % intervals of the paired differences in loss and in time lie on one side of
zero, for which there must be seeds enough; memory has been measured once, so that there the loss alone decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from frostline.stats import scalars
from frostline.stats.estimate import Estimate
from frostline.stats.runs import ArmRun, VariantRun
from frostline.stats.summary import FrontPoint
from frostline.stats.timing import of_one_run
from frostline.stats.trade import over_seeds, training_seconds

Measure = Callable[[ArmRun], float]


def fronts(variant: VariantRun) -> list[FrontPoint]:
    """Every arm against seconds and against peak memory, where it has both the cost and a held-out loss."""
    return _against_seconds(variant) + _against_memory(variant)


def _against_seconds(variant: VariantRun) -> list[FrontPoint]:
    """Arms whose steps were timed in one and the same run."""
    runs = {arm: of_one_run(variant.counting(arm)) for arm in variant.arms}
    trained_by = {own[0].trained_by for own in runs.values() if own}
    if len(trained_by) != 1:
        return []
    by_seed = {arm: {run.seed: training_seconds(run) for run in own} for arm, own in runs.items()}
    return _points(variant, "seconds", by_seed)


def _against_memory(variant: VariantRun) -> list[FrontPoint]:
    by_seed = {
        arm: dict.fromkeys(variant.seeds, float(variant.memory[arm].peak_bytes))
        for arm in variant.arms
        if arm in variant.memory
    }
    return _points(variant, "bytes", by_seed)


def _points(variant: VariantRun, axis: str, by_seed: dict[str, dict[int, float]]) -> list[FrontPoint]:
    losses = {arm: {run.seed: scalars.held_out_after(run) for run in variant.counting(arm)} for arm in by_seed}
    values: dict[str, tuple[Estimate, Estimate]] = {}
    for arm, costs in by_seed.items():
        seeds = [seed for seed in costs if math.isfinite(losses[arm].get(seed, math.nan))]
        cost = over_seeds([costs[seed] for seed in seeds], axis)
        loss = over_seeds([losses[arm][seed] for seed in seeds], "nats")
        if cost.value is not None and loss.value is not None:
            one_measurement = Estimate(cost.value, None, None, 1, "bytes", "measured once")
            values[arm] = (one_measurement if axis == "bytes" else cost), loss
    found = []
    for arm, (cost, loss) in values.items():
        beaten = {
            other: _surely(losses[other], losses[arm]) and (axis == "bytes" or _surely(by_seed[other], by_seed[arm]))
            for other in values
            if _beats(values[other], values[arm])
        }
        found.append(FrontPoint(axis, arm, cost, loss, list(beaten), [other for other, sure in beaten.items() if sure]))
    return found


def _beats(one: tuple[Estimate, Estimate], other: tuple[Estimate, Estimate]) -> bool:
    pairs = [(own.value or 0.0, theirs.value or 0.0) for own, theirs in zip(one, other, strict=True)]
    return all(own <= theirs for own, theirs in pairs) and any(own < theirs for own, theirs in pairs)


def _surely(lower: dict[int, float], higher: dict[int, float]) -> bool:
    """Whether `lower` is below `higher` by more than chance, over the replicates of both."""
    high = over_seeds([lower[seed] - higher[seed] for seed in lower if seed in higher], "").high
    return high is not None and high < 0
