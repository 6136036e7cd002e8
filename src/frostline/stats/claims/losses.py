"""What do the losses say? C1 (slope), C2 (scatter), C8 (equivalence of the reversed arm), C10 (early variance)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from frostline.readable import loss, percent, significant
from frostline.stats import scalars
from frostline.stats.claims.context import FINISH, Context, Obstacle
from frostline.stats.claims.definitions import C1, C2, C8, C10
from frostline.stats.claims.verdicts import (
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    Verdict,
    in_these_runs,
    over_replicates,
    replicates_text,
    result,
    too_few,
    untested,
    within_runs,
)
from frostline.stats.comparisons import Compared, Measure, difference
from frostline.stats.intervals import OVER_BLOCKS, bootstrap_mean, finite, t_interval
from frostline.stats.pairs import Pair, Pairs
from frostline.stats.runs import ArmRun
from frostline.stats.significance import ALPHA, MINIMUM_REPLICATES, equivalence_p, holm, sign_flip_p
from frostline.stats.summary import ClaimResult, Estimate
from frostline.stats.wording import interval, p_text

FALL = Compared(scalars.fall_per_doubling, "nats per doubling")


def judge_slope(context: Context) -> list[ClaimResult]:
    """C1."""
    if context.frozen_obstacle:
        return [untested(C1, context, context.frozen_obstacle)]
    verdicts = over_replicates([pairs.differences(FALL.measure) for pairs in context.frozen], 1)
    return [
        result(C1, context, pairs.arm, verdict, effect, _slope_sentence(pairs, effect, verdict))
        for pairs, verdict in zip(context.frozen, verdicts, strict=True)
        for effect in [difference(pairs, FALL)]
    ]


def _slope_sentence(pairs: Pairs, effect: Estimate, verdict: Verdict) -> str:
    if effect.value is None:
        return f"{pairs.arm} and {pairs.baseline} have no finished replicate in common."
    full, own = _means(pairs, FALL.measure)
    faster = pairs.baseline if effect.value > 0 else pairs.arm
    return (
        f"With each doubling of the steps the loss of {pairs.baseline} changed by {loss(full)} nats and that of "
        f"{pairs.arm} by {loss(own)}: {faster} fell faster, by {significant(abs(effect.value))} nats"
        f"{interval(effect, negate=effect.value < 0)}, {replicates_text(len(pairs.pairs))}{_with_p(verdict)}."
    )


def judge_scatter(context: Context) -> list[ClaimResult]:
    """C2."""
    if context.frozen_obstacle:
        return [untested(C2, context, context.frozen_obstacle)]
    margin = context.variant.recipe.margin_nats
    below = [[_below(pair) for pair in pairs.pairs] for pairs in context.frozen]
    found = [bootstrap_mean(series) for series in below]
    signs = [[float(one.mean()) - 0.5 for one in series if len(one)] for series in below]
    verdicts = within_runs([one.p_value(0.5) for one in found], signs, 1)
    results = []
    for pairs, share, verdict in zip(context.frozen, found, verdicts, strict=True):
        effect = share.estimate("share", f"{OVER_BLOCKS}, within runs", (0.0, 1.0))
        if effect.value is None:
            results.append(untested(C2, context, _no_pairs(pairs), pairs.arm))
            continue
        early = float(np.mean([_early_distance(pair) for pair in pairs.pairs]))
        if verdict.verdict == SUPPORTED and not abs(early) < margin:
            verdict = Verdict(
                UNDECIDED,
                verdict.p_value,
                "A look at fewer first steps, or a smaller learning rate: the early points are already off the line.",
            )
        sentence = (
            f"{percent(effect.value)}{interval(effect, as_percent=True)} of the points lay below y = x "
            f"{in_these_runs(len(pairs.pairs))}; over the first twentieth of the steps {pairs.arm} was "
            f"{loss(early)} nats above {pairs.baseline} (on the line if within {margin:g}){_with_p(verdict)}."
        )
        results.append(result(C2, context, pairs.arm, verdict, effect, sentence))
    return results


def judge_equivalence(context: Context) -> list[ClaimResult]:
    """C8."""
    if context.reversed_obstacle:
        return [untested(C8, context, context.reversed_obstacle)]
    margin = context.variant.recipe.margin_nats
    differences = [pairs.differences(scalars.held_out_after) for pairs in context.reversed]
    equal = holm([equivalence_p(values, margin) for values in differences])
    beyond = holm(
        [sign_flip_p(values - margin * np.sign(values.mean() if len(values) else 0)) for values in differences]
    )
    results = []
    for pairs, values, p_equal, p_beyond in zip(context.reversed, differences, equal, beyond, strict=True):
        effect = t_interval(values, "nats")
        if effect.value is None:
            results.append(untested(C8, context, _no_pairs(pairs), pairs.arm))
            continue
        verdict = _equivalence(effect, margin, p_equal, p_beyond, len(context.reversed))
        word = "above" if effect.value > 0 else "below"
        sentence = (
            f"The held-out loss of {pairs.arm} ended {loss(abs(effect.value))} nats {word} that of {pairs.baseline}"
            f"{interval(effect, decimals=3, negate=effect.value < 0)}, {replicates_text(len(values))}; practically "
            f"unchanged means within {margin:g}{_with_p(verdict)}."
        )
        results.append(result(C8, context, pairs.arm, verdict, effect, sentence))
    return results


def _equivalence(effect: Estimate, margin: float, p_equal: float | None, p_beyond: float | None, arms: int) -> Verdict:
    assert effect.value is not None
    if effect.n >= MINIMUM_REPLICATES and p_equal is not None and p_equal < ALPHA:
        return Verdict(SUPPORTED, p_equal)
    if abs(effect.value) > margin and p_beyond is not None and p_beyond < ALPHA:
        return Verdict(REFUTED, p_beyond)
    if effect.n < MINIMUM_REPLICATES:
        decides = (
            f"{MINIMUM_REPLICATES} replicates or more: fewer decide nothing here, as for every claim over replicates."
        )
        return Verdict(UNDECIDED, p_equal, decides)
    return Verdict(UNDECIDED, p_equal, too_few(effect.n, arms))


def judge_early_variance(context: Context) -> list[ClaimResult]:
    """C10."""
    if context.frozen_obstacle:
        return [untested(C10, context, context.frozen_obstacle)]
    differences = [pairs.differences(_log_variance) for pairs in context.frozen]
    verdicts = over_replicates(differences, -1)
    results = []
    for pairs, values, verdict in zip(context.frozen, differences, verdicts, strict=True):
        logs = t_interval(values, "ratio")
        if logs.value is None:
            results.append(untested(C10, context, _no_variance(pairs), pairs.arm))
            continue
        effect = exponentiated(logs)
        sentence = (
            f"Early in training the loss of {pairs.arm} had {significant(effect.value)} times{interval(effect)} "
            f"the variance about its trend that {pairs.baseline} had, {replicates_text(len(values))}{_with_p(verdict)}."
        )
        results.append(result(C10, context, pairs.arm, verdict, effect, sentence))
    return results


def exponentiated(logs: Estimate) -> Estimate:
    """The estimate of a ratio from that of its logarithm."""
    ends = [None if end is None else math.exp(end) for end in (logs.value, logs.low, logs.high)]
    return replace(logs, value=ends[0], low=ends[1], high=ends[2], unit="ratio")


def _log_variance(run: ArmRun) -> float:
    variance = scalars.loss_variance_early(run)
    return math.log(variance) if variance > 0 else math.nan


def _below(pair: Pair) -> scalars.Floats:
    """1 where the full arm's loss is lower, 0.5 where equal, 0 where higher; steps with a missing loss left out."""
    own, full = pair.losses
    known = np.isfinite(own) & np.isfinite(full)
    return 0.5 + 0.5 * np.sign(own[known] - full[known])


def _early_distance(pair: Pair) -> float:
    """Mean of frozen minus full loss over the first twentieth of the steps, three at least."""
    own, full = pair.losses
    known = finite(own - full)
    return float(known[: max(3, round(len(known) / 20))].mean()) if len(known) else math.nan


def _means(pairs: Pairs, measure: Measure) -> tuple[float, float]:
    """Mean over the pairs of `measure` for the baseline and for the arm."""
    return (
        float(np.mean([measure(pair.baseline) for pair in pairs.pairs])),
        float(np.mean([measure(pair.arm) for pair in pairs.pairs])),
    )


def _no_pairs(pairs: Pairs) -> Obstacle:
    return Obstacle(f"{pairs.arm} and {pairs.baseline} have no replicate in common that could be measured.", FINISH)


def _no_variance(pairs: Pairs) -> Obstacle:
    if not pairs.pairs:
        return _no_pairs(pairs)
    return Obstacle("The run is too short for a variance of the early loss.", "6 steps or more.")


def _with_p(verdict: Verdict) -> str:
    return f" ({p_text(verdict.p_value)})" if verdict.p_value is not None else ""
