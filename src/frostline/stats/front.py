"""Which arms are worth having? Those that no other beats in loss without costing more: the front of loss against cost.

An arm is beaten by another that ends at a loss as low or lower and costs as little or less, one of the two being
strict. It is surely beaten where the paired differences in loss and in time are each significant over replicates, by
the test of the claims (guarded against skew, Holm over the other arms), for which there must be six seeds or more;
memory has been measured once, so that there the loss alone decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from frostline.stats import scalars
from frostline.stats.arm_run import ArmRun
from frostline.stats.estimate import Estimate
from frostline.stats.runs import VariantRun
from frostline.stats.significance import ALPHA, guarded_p, holm
from frostline.stats.summary import FrontPoint
from frostline.stats.timing import of_one_run, timed_by
from frostline.stats.trade import over_seeds, training_seconds

Measure = Callable[[ArmRun], float]


def fronts(variant: VariantRun) -> list[FrontPoint]:
    """Every arm against seconds and against peak memory, where it has both the cost and a held-out loss."""
    return _against_seconds(variant) + _against_memory(variant)


def _against_seconds(variant: VariantRun) -> list[FrontPoint]:
    """Arms whose steps were timed in one and the same run, on machines of one kind, by one number of processes."""
    runs = {arm: of_one_run(variant.counting(arm)) for arm in variant.arms}
    by = {timed_by(own[0]) for own in runs.values() if own}
    if len(by) != 1 or any(len(run.processes) > 1 for own in runs.values() for run in own):
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
        others = [other for other in values if other != arm]
        compared = [[(losses[other], losses[arm]), (by_seed[other], by_seed[arm])] for other in others]
        sure = surely_lower([own if axis == "seconds" else own[:1] for own in compared])
        beaten = [other for other in others if _beats(values[other], values[arm])]
        surely = [other for other, one in zip(others, sure, strict=True) if one and other in beaten]
        found.append(FrontPoint(axis, arm, cost, loss, beaten, surely))
    return found


def _beats(one: tuple[Estimate, Estimate], other: tuple[Estimate, Estimate]) -> bool:
    pairs = [(own.value or 0.0, theirs.value or 0.0) for own, theirs in zip(one, other, strict=True)]
    return all(own <= theirs for own, theirs in pairs) and any(own < theirs for own, theirs in pairs)


BySeed = dict[int, float]


def surely_lower(others: Sequence[Sequence[tuple[BySeed, BySeed]]]) -> list[bool]:
    """For each of several arms whether, in all of its pairs of measures, the first is surely below the second.

    Of two measures both must be, so that the larger p counts, without a correction.
    """
    p_values = holm([max(_p_below(lower, higher) for lower, higher in pairs) for pairs in others])
    return [p is not None and p < ALPHA for p in p_values]


def _p_below(lower: BySeed, higher: BySeed) -> float:
    """p of `lower` not lying below `higher`, over the replicates of both; 1 where it does not."""
    differences = [lower[seed] - higher[seed] for seed in lower if seed in higher]
    p = guarded_p(differences)
    return p if p is not None and sum(differences) < 0 else 1.0
