"""What do the weight changes say? C5 (their shape over the steps), C6 (the load that trained matrices carry)."""

from __future__ import annotations

import numpy as np

from frostline.readable import significant
from frostline.stats import scalars
from frostline.stats.claims.context import Context, Obstacle
from frostline.stats.claims.definitions import C5, C6, FALL_FACTOR
from frostline.stats.claims.losses import exponentiated
from frostline.stats.claims.verdicts import (
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    Verdict,
    in_these_runs,
    result,
    untested,
    within_runs,
)
from frostline.stats.intervals import OVER_BLOCKS, Floats, bootstrap_mean, bootstrap_slope, slope
from frostline.stats.pairs import Pair
from frostline.stats.summary import ClaimResult
from frostline.stats.wording import interval, p_text, scaled

NOT_WATCHED = Obstacle(
    "No weight change of a trained matrix was measured.",
    "A run that measures it (measures.weight_change_every above 0, measures.watch naming matrices that train).",
)
FEWEST = 10
"""Measurements of the weight change that a shape needs."""


def judge_shape(context: Context) -> list[ClaimResult]:
    """C5, on the full arm and on each frozen arm."""
    arms = [context.full, *(pairs.arm for pairs in context.frozen)]
    series = {arm: [scalars.trained_change(run)[1] for run in context.variant.counting(arm)] for arm in arms}
    series = {arm: [one for one in own if len(one) >= FEWEST] for arm, own in series.items()}
    series = {arm: own for arm, own in series.items() if own}
    if not series:
        return [untested(C5, context, NOT_WATCHED)]
    late = {arm: [np.log(one[len(one) // 2 :]) for one in own] for arm, own in series.items()}
    slopes = {arm: bootstrap_slope(own) for arm, own in late.items()}
    signs = [[slope(one) for one in own] for own in late.values()]
    verdicts = within_runs([found.p_value() for found in slopes.values()], signs, 1)
    results = []
    for arm, verdict in zip(series, verdicts, strict=True):
        falls = [_fall(one) for one in series[arm]]
        effect = slopes[arm].estimate("share per step", f"{OVER_BLOCKS}, within runs")
        in_percent = scaled(effect, 100)  # the slope of a logarithm is relative growth
        sentence = (
            f"The weight change of {arm} fell by a factor of {significant(float(np.mean(falls)))} from its first steps "
            "to the second tenth of them, and over the second half changed by "
            f"{significant(in_percent.value, 2)} % a step"
            f"{interval(in_percent, decimals=2)}, {in_these_runs(len(falls))}{_with_p(verdict)}."
        )
        results.append(result(C5, context, arm, _with_fall(verdict, falls), effect, sentence))
    return results


def _fall(changes: Floats) -> float:
    """Mean over the first fiftieth of the measurements (two at least) over the mean of the second tenth."""
    n = len(changes)
    after = changes[max(2, n // 10) : max(4, n // 5)]
    return float(changes[: max(2, n // 50)].mean() / after.mean())


def _with_fall(verdict: Verdict, falls: list[float]) -> Verdict:
    """The verdict on the late growth, joined with the fall before it."""
    if all(fall <= 1 for fall in falls):
        return Verdict(REFUTED, verdict.p_value)
    if verdict.verdict == SUPPORTED and not all(fall >= FALL_FACTOR for fall in falls):
        return Verdict(UNDECIDED, verdict.p_value, f"A fall by a factor of {FALL_FACTOR:g} in every replicate.")
    return verdict


def judge_load(context: Context) -> list[ClaimResult]:
    """C6."""
    if context.frozen_obstacle:
        return [untested(C6, context, context.frozen_obstacle)]
    ratios = {pairs.arm: [_log_ratios(pair) for pair in pairs.pairs] for pairs in context.frozen}
    ratios = {arm: [one for one in own if len(one)] for arm, own in ratios.items()}
    ratios = {arm: own for arm, own in ratios.items() if own}
    if not ratios:
        return [untested(C6, context, NOT_WATCHED)]
    found = {arm: bootstrap_mean(own) for arm, own in ratios.items()}
    signs = [[float(one.mean()) for one in own] for own in ratios.values()]
    verdicts = within_runs([one.p_value() for one in found.values()], signs, 1)
    results = []
    for (arm, one), verdict in zip(found.items(), verdicts, strict=True):
        effect = exponentiated(one.estimate("ratio", f"{OVER_BLOCKS}, within runs"))
        sentence = (
            f"The matrices that {arm} trains changed {significant(effect.value)} times{interval(effect)} as much per "
            f"step as the same matrices in {context.full}, {in_these_runs(one.strata)}{_with_p(verdict)}."
        )
        results.append(result(C6, context, arm, verdict, effect, sentence))
    return results


def _log_ratios(pair: Pair) -> Floats:
    """Logarithm of the arm's weight change over the baseline's, at each step that both measured."""
    watched, others = pair.arm.watched, pair.baseline.watched
    if watched is None or others is None:
        return np.empty(0)
    trained = {name for name, trains in zip(watched.names, watched.trained, strict=True) if trains}
    names = frozenset(trained & set(others.names))
    own_steps, own = scalars.trained_change(pair.arm, names)
    full_steps, full = scalars.trained_change(pair.baseline, names)
    _, first, second = np.intersect1d(own_steps, full_steps, return_indices=True)
    ratios: Floats = np.log(own[first] / full[second])
    return ratios


def _with_p(verdict: Verdict) -> str:
    return f" ({p_text(verdict.p_value)})" if verdict.p_value is not None else ""
