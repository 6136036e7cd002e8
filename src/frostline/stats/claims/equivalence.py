"""Does the reversed arm leave the loss unchanged? C8: equal within a margin, at the end and all along the curve."""

from __future__ import annotations

import numpy as np

from frostline.readable import loss, percent
from frostline.stats import scalars
from frostline.stats.claims.context import Context, Obstacle, gain, rates_text
from frostline.stats.claims.definitions import C8
from frostline.stats.claims.losses import no_pairs
from frostline.stats.claims.verdicts import (
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    Verdict,
    replicates_text,
    result,
    too_few,
    untested,
)
from frostline.stats.intervals import Floats, t_interval
from frostline.stats.pairs import Pair, Pairs
from frostline.stats.significance import (
    ALPHA,
    MINIMUM_REPLICATES,
    beyond_p,
    detectable,
    equivalence_p,
    holm,
    replicates_needed,
)
from frostline.stats.summary import ClaimResult
from frostline.stats.wording import interval, with_p

FEWEST_POINTS = 3
"""Evaluations after the warm-up that make a curve."""
STRETCHES = 8
NOT_EVALUATED = Obstacle(
    "No held-out loss was taken after training began, so that no share of full training's gain can be a margin.",
    "A run that has ended, or 'margin_nats' in the recipe.",
)
NO_MARGIN = Obstacle(
    "Full training gained nothing in held-out loss, so that no share of its gain can be a margin.",
    "A run in which full training lowers the held-out loss, or 'margin_nats' in the recipe.",
)


def judge_equivalence(context: Context) -> list[ClaimResult]:
    """C8."""
    if context.reversed_obstacle:
        return [untested(C8, context, context.reversed_obstacle)]
    margin = context.margin
    if margin is None:
        obstacle = NOT_EVALUATED if gain(context.variant) is None else NO_MARGIN
        return [untested(C8, context, obstacle, pairs.arm) for pairs in context.reversed]
    warmup = context.variant.recipe.training.warmup
    differences = [pairs.differences(scalars.held_out_after) for pairs in context.reversed]
    curves = [curve_of(pairs, warmup) for pairs in context.reversed]
    verdicts = equivalence_verdicts(differences, curves, margin)
    results = []
    for pairs, values, curve, verdict in zip(context.reversed, differences, curves, verdicts, strict=True):
        effect = t_interval(values, "nats")
        if effect.value is None:
            results.append(untested(C8, context, no_pairs(pairs), pairs.arm))
            continue
        word = "above" if effect.value > 0 else "below"
        farthest = float(np.abs(curve.mean(axis=0)).max()) if curve.size else 0.0
        sentence = (
            f"The held-out loss of {pairs.arm} ended {loss(abs(effect.value))} nats {word} that of {pairs.baseline}"
            f"{interval(effect, decimals=3, negate=effect.value < 0)}, and on the way was at most {loss(farthest)} "
            f"from it, {rates_text(pairs)}, {replicates_text(len(values))}; practically unchanged means within "
            f"{_margin_text(context, margin)}{with_p(verdict.p_value)}."
        )
        results.append(result(C8, context, pairs.arm, verdict, effect, sentence))
    return results


def equivalence_verdicts(differences: list[Floats], curves: list[Floats], margin: float) -> list[Verdict]:
    """A verdict for each arm's differences at the end and on the curve ([replicates, points])."""
    ends = [equivalence_p(values, margin) for values in differences]
    # Every point must be within, so that the largest p is the curve's, without a correction (Berger 1982).
    along = [_largest([equivalence_p(column, margin) for column in curve.T]) for curve in curves]
    equal = holm([_largest([end, curve]) for end, curve in zip(ends, along, strict=True)])
    beyond = holm([beyond_p(values, margin) for values in differences])
    return [
        _verdict(values, p_equal, p_beyond, margin, len(differences))
        for values, p_equal, p_beyond in zip(differences, equal, beyond, strict=True)
    ]


def _verdict(values: Floats, p_equal: float | None, p_beyond: float | None, margin: float, arms: int) -> Verdict:
    n = len(values)
    if n < MINIMUM_REPLICATES:
        needed = replicates_needed(arms)
        return Verdict(UNDECIDED, None, too_few(n, arms), detectable=detectable(values, needed), seeds=needed)
    if p_equal is not None and p_equal < ALPHA:
        return Verdict(SUPPORTED, p_equal)
    if p_beyond is not None and p_beyond < ALPHA:
        return Verdict(REFUTED, p_beyond)
    within = abs(float(values.mean())) < margin
    seeds = max(n, replicates_needed(arms))
    return Verdict(
        UNDECIDED, p_equal if within else p_beyond, too_few(n, arms), detectable=detectable(values, seeds), seeds=seeds
    )


def curve_of(pairs: Pairs, warmup: int) -> Floats:
    """Differences along the way, [replicates, points]: of the held-out loss, or of the training loss in stretches."""
    steps = [
        {step for step in pair.arm.held_out.keys() & pair.baseline.held_out.keys() if step > warmup}
        for pair in pairs.pairs
    ]
    common = sorted(set.intersection(*steps)) if steps else []
    if len(common) >= FEWEST_POINTS:
        rows = [[pair.arm.held_out[step] - pair.baseline.held_out[step] for step in common] for pair in pairs.pairs]
    else:
        rows = [_stretches(pair, warmup) for pair in pairs.pairs]
    shortest = min((len(row) for row in rows), default=0)
    return np.array([row[:shortest] for row in rows], dtype=np.float64).reshape(len(rows), shortest)


def _stretches(pair: Pair, warmup: int) -> list[float]:
    own, full = pair.losses
    known = (own - full)[warmup:]
    known = known[np.isfinite(known)]
    return [float(part.mean()) for part in np.array_split(known, STRETCHES) if len(part)]


def _margin_text(context: Context, margin: float) -> str:
    gained = gain(context.variant)
    share = "" if gained is None or gained <= 0 else f", {percent(margin / gained)} of what full training gained"
    return f"{loss(margin)} nats{share}"


def _largest(p_values: list[float | None]) -> float | None:
    known = [p for p in p_values if p is not None]
    return max(known) if known and len(known) == len(p_values) else None
