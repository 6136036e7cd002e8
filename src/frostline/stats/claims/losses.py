"""What do the losses say? C1 (slope), C2 (scatter), C10 (early variance)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from frostline.readable import decimal, percent, significant
from frostline.stats import scalars
from frostline.stats.arm_run import ArmRun
from frostline.stats.claims.context import FINISH, Context, Obstacle, rates_text
from frostline.stats.claims.definitions import C1, C2, C10, CALM
from frostline.stats.claims.verdicts import (
    Series,
    Verdict,
    both,
    judged,
    means_estimate,
    over_replicates,
    replicates_text,
    result,
    scope_text,
    untested,
)
from frostline.stats.comparisons import Compared, difference
from frostline.stats.estimate import Estimate
from frostline.stats.intervals import Floats, slope, t_interval
from frostline.stats.pairs import Pair, Pairs
from frostline.stats.series import FEWEST_STEPS, SeriesTest, independent_steps, mean_test, slope_test
from frostline.stats.summary import ClaimResult
from frostline.stats.wording import interval, with_p

FALL = Compared(scalars.fall_per_doubling, "nats per doubling")


def judge_slope(context: Context) -> list[ClaimResult]:
    """C1."""
    if context.frozen_obstacle:
        return [untested(C1, context, context.frozen_obstacle)]
    verdicts = over_replicates([pairs.differences(FALL.measure) for pairs in context.frozen], 1)
    results = []
    for pairs, verdict in zip(context.frozen, verdicts, strict=True):
        effect = difference(pairs, FALL)
        if effect.value is None:
            results.append(untested(C1, context, no_pairs(pairs), pairs.arm))
            continue
        faster = pairs.baseline if effect.value > 0 else pairs.arm
        sentence = (
            f"With each doubling of the steps the loss of {faster} fell by {significant(abs(effect.value))} nats"
            f"{interval(effect, negate=effect.value < 0)} more than that of "
            f"{pairs.arm if faster == pairs.baseline else pairs.baseline} on the same windows, {rates_text(pairs)}, "
            f"{replicates_text(len(pairs.pairs))}{with_p(verdict.p_value)}."
        )
        results.append(result(C1, context, pairs.arm, verdict, effect, sentence))
    return results


def judge_scatter(context: Context) -> list[ClaimResult]:
    """C2."""
    if context.frozen_obstacle:
        return [untested(C2, context, context.frozen_obstacle)]
    tested = [pairs for pairs in context.frozen if any(len(_gaps(pair)) >= FEWEST_STEPS for pair in pairs.pairs)]
    results = [
        untested(C2, context, no_pairs(pairs) if not pairs.pairs else TOO_SHORT, pairs.arm)
        for pairs in context.frozen
        if pairs not in tested
    ]
    gaps = [[gap for pair in pairs.pairs if len(gap := _gaps(pair)) >= FEWEST_STEPS] for pairs in tested]
    verdicts = scatter_verdicts(gaps)
    for pairs, own, verdict in zip(tested, gaps, verdicts, strict=True):
        effect = means_estimate(_side(own), verdict, "share", (0.0, 1.0))
        correlation = float(np.mean([slope(distance_ranks(gap)) for gap in own]))
        order = "the later the farther from it" if correlation > 0 else "the later the nearer to it"
        sentence = (
            f"{percent(effect.value)}{interval(effect, as_percent=True)} of the points lay below y = x, {order} (rank "
            f"correlation of distance and step {decimal(correlation, 2)}), {rates_text(pairs)}, "
            f"{scope_text(verdict, len(own))}{with_p(verdict.p_value)}."
        )
        results.append(result(C2, context, pairs.arm, verdict, effect, sentence))
    return results


def scatter_verdicts(gaps: Sequence[Sequence[Floats]]) -> list[Verdict]:
    """A verdict for each arm's frozen minus full losses ([steps], one a replicate): most below, the early ones near."""
    most = judged([_side(own) for own in gaps], 1)
    early = judged([Series([distance_ranks(gap) for gap in own], slope_test, slope) for own in gaps], 1)
    return [both(first, second) for first, second in zip(most, early, strict=True)]


def _side(gaps: Sequence[Floats]) -> Series:
    return Series(gaps, share_test, lambda gap: float(below(gap).mean()) - 0.5, 0.5)


TOO_SHORT = Obstacle("The run is too short for a scatter.", f"{FEWEST_STEPS} steps or more.")


def below(gap: Floats) -> Floats:
    """1 where the full arm's loss is lower, 0.5 where equal, 0 where higher, from frozen minus full."""
    return 0.5 + 0.5 * np.sign(gap)


def share_test(gaps: Sequence[Floats]) -> SeriesTest:
    """Share of points below the line. How alike neighbours are is told by the gaps: their signs may never change."""
    found = mean_test([below(gap) for gap in gaps])
    units = min(found.units, independent_steps(gaps))
    error = found.error * math.sqrt(found.units / units)
    return replace(found, error=error, units=units, skewness=math.nan, error_at_limit=math.nan)


def distance_ranks(gap: Floats) -> Floats:
    """Ranks of the distances from the line, in steps: their slope over steps is Spearman's rank correlation."""
    found: Floats = stats.rankdata(np.abs(gap)).astype(np.float64)
    return found


def judge_early_variance(context: Context) -> list[ClaimResult]:
    """C10."""
    if context.frozen_obstacle:
        return [untested(C10, context, context.frozen_obstacle)]
    differences = [pairs.differences(_log_variance) for pairs in context.frozen]
    verdicts = over_replicates(differences, -1, -math.log(CALM))
    results = []
    for pairs, values, verdict in zip(context.frozen, differences, verdicts, strict=True):
        logs = t_interval(values, "ratio")
        if logs.value is None:
            results.append(untested(C10, context, _no_variance(pairs), pairs.arm))
            continue
        effect = exponentiated(logs)
        if verdict.detectable is not None:
            verdict = replace(verdict, detectable=math.exp(verdict.detectable))
        raw = t_interval(pairs.differences(_log_raw_variance), "ratio").value
        also = "" if raw is None else f"; Var(L) itself, fall included, was {significant(math.exp(raw))} times"
        sentence = (
            f"Early in training the loss of {pairs.arm} had {significant(effect.value)} times{interval(effect)} the "
            f"variance about its trend that {pairs.baseline} had{also}, "
            f"{replicates_text(len(values))}{with_p(verdict.p_value)}."
        )
        results.append(result(C10, context, pairs.arm, verdict, effect, sentence))
    return results


def exponentiated(logs: Estimate) -> Estimate:
    """The estimate of a ratio from that of its logarithm."""
    ends = [None if end is None else math.exp(end) for end in (logs.value, logs.low, logs.high)]
    return replace(logs, value=ends[0], low=ends[1], high=ends[2], unit="ratio")


def no_pairs(pairs: Pairs) -> Obstacle:
    """Nothing of the two arms can be compared."""
    return Obstacle(f"{pairs.arm} and {pairs.baseline} have no replicate in common that could be measured.", FINISH)


def _log_variance(run: ArmRun) -> float:
    variance = scalars.loss_variance_early(run)
    return math.log(variance) if variance > 0 else math.nan


def _log_raw_variance(run: ArmRun) -> float:
    early = run.losses[: scalars.early_steps(len(run.losses))]
    variance = float(np.var(early, ddof=1)) if len(early) > 1 else math.nan
    return math.log(variance) if variance > 0 else math.nan


def _gaps(pair: Pair) -> Floats:
    """Loss of the frozen arm minus that of the full one, [steps]; steps with a missing loss left out."""
    own, full = pair.losses
    found: Floats = (own - full)[np.isfinite(own) & np.isfinite(full)]
    return found


def _no_variance(pairs: Pairs) -> Obstacle:
    if not pairs.pairs:
        return no_pairs(pairs)
    return Obstacle("The run is too short for a variance of the early loss.", "6 steps or more.")
