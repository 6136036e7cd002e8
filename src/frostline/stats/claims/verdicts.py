"""When is a claim supported, refuted or undecided? The rules that all claims share.

Over replicates: `guarded_p` below 0.05 after Holm decides, so that six replicates are the fewest. In these runs (where
there are fewer, and steps that can speak): the mean or slope over steps, p below 0.05 after Holm, and every replicate
pointing the same way. A margin, where a claim has one, must be passed on either side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from frostline.readable import decimal, significant
from frostline.stats.claims.context import Context, Obstacle
from frostline.stats.claims.definitions import OVER, WITHIN, Definition
from frostline.stats.estimate import Estimate
from frostline.stats.intervals import Floats, nothing, t_interval
from frostline.stats.series import SeriesTest
from frostline.stats.significance import (
    ALPHA,
    MINIMUM_REPLICATES,
    beyond_p,
    detectable,
    guarded_p,
    holm,
    replicates_needed,
)
from frostline.stats.summary import ClaimResult

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"


@dataclass(frozen=True)
class Verdict:
    """A verdict with its p-value and, where undecided, what would decide it."""

    verdict: str
    p_value: float | None
    decides: str = ""
    scope: str = ""
    """`over replicates` or `in these runs`; '' is the claim's own."""
    detectable: float | None = None
    """The effect that `seeds` replicates of this spread would find four times in five, in the effect's unit."""
    seeds: int = 0


def result(
    definition: Definition, context: Context, arm: str, verdict: Verdict, effect: Estimate, sentence: str
) -> ClaimResult:
    """The claim's row in the report."""
    label = context.variant.label
    return _result(definition, arm, verdict, effect, f"{label}: {sentence}" if label else sentence, label)


def across_variants(definition: Definition, arm: str, verdict: Verdict, effect: Estimate, sentence: str) -> ClaimResult:
    """The row of a claim about all variants together."""
    return _result(definition, arm, verdict, effect, sentence, "")


def untested(definition: Definition, context: Context, obstacle: Obstacle, arm: str = "") -> ClaimResult:
    """The row of a claim that this run cannot test."""
    verdict = Verdict(UNDECIDED, None, obstacle.decides)
    return result(definition, context, arm, verdict, nothing(""), obstacle.sentence)


def unanswered(definition: Definition, obstacle: Obstacle, arm: str = "") -> ClaimResult:
    """The row of a claim about all variants that this run cannot test."""
    verdict = Verdict(UNDECIDED, None, obstacle.decides)
    return across_variants(definition, arm, verdict, nothing(""), obstacle.sentence)


def over_replicates(
    differences: Sequence[Sequence[float] | Floats], direction: int, margin: float = 0.0
) -> list[Verdict]:
    """A verdict for each arm's differences (one a replicate); `direction` is the sign that the claim predicts.

    The mean must lie beyond `margin`, on either side.
    """
    p_values = holm([beyond_p(values, margin) for values in differences])
    return [
        _over_replicates(values, p, direction, len(differences), margin)
        for values, p in zip(differences, p_values, strict=True)
    ]


@dataclass(frozen=True)
class Series:
    """What each replicate of an arm says step by step, how to test it within runs, and its effect in each replicate."""

    steps: Sequence[Floats]
    """[steps] of each replicate."""
    test: Callable[[Sequence[Floats]], SeriesTest]
    statistic: Callable[[Floats], float]
    """The same number, less its null, of one replicate."""
    null: float = 0.0


def judged(arms: Sequence[Series], direction: int, margin: float = 0.0) -> list[Verdict]:
    """A verdict for each arm: over replicates where there are enough, else in these runs.

    `margin` is in the unit of the statistic.
    """
    statistics = [[arm.statistic(one) for one in arm.steps] for arm in arms]
    if all(len(own) >= MINIMUM_REPLICATES for own in statistics):
        return over_replicates(statistics, direction, margin)
    p_values = [_p_within(arm.test(arm.steps), arm.null, margin) for arm in arms]
    return within_runs(p_values, statistics, direction, margin)


def _p_within(found: SeriesTest, null: float, margin: float) -> float | None:
    """p of the value lying beyond `margin` from `null` on its side; 1 where it lies within."""
    away = found.value - null
    p = found.p_value(null + math.copysign(margin, away))
    return 1.0 if p is not None and margin > 0 and abs(away) <= margin else p


def both(first: Verdict, second: Verdict) -> Verdict:
    """The verdict on a claim of two halves that must both hold: the larger p, the narrower scope.

    It is refuted by either half, so that each is tested at half the level for that.
    """
    known = [one.p_value for one in (first, second) if one.p_value is not None]
    scope = WITHIN if WITHIN in (first.scope, second.scope) else first.scope
    refuting = [one.p_value for one in (first, second) if one.verdict == REFUTED and one.p_value is not None]
    if refuting and 2 * min(refuting) < ALPHA:
        return Verdict(REFUTED, 2 * min(refuting), scope=scope)
    p = max(known) if len(known) == 2 else None
    if first.verdict == second.verdict == SUPPORTED:
        return Verdict(SUPPORTED, p, scope=scope)
    decides = next((one.decides for one in (first, second) if one.decides), "More replicates: one half speaks against.")
    return Verdict(UNDECIDED, p, decides, scope)


def too_few(replicates: int, arms: int) -> str:
    """What would decide a claim over replicates that `replicates` cannot."""
    needed = replicates_needed(arms)
    if replicates < needed:
        corrected = f" (with Holm's correction over {arms} arms)" if arms > 1 else ""
        have = f"with {replicates}" if replicates else "without any"
        return f"{needed} replicates or more{corrected}: {have} no exact test can reach p < 0.05."
    return f"More replicates, or longer runs: with {replicates} replicates the difference is not told from chance."


def within_runs(
    p_values: Sequence[float | None], effects: Sequence[Sequence[float]], direction: int, margin: float = 0.0
) -> list[Verdict]:
    """A verdict for each arm from its p-value within the runs and the effect in each replicate.

    An effect counts where every replicate has it on the same side, and beyond the margin.
    """
    return [_within(p, list(own), direction, margin) for p, own in zip(holm(list(p_values)), effects, strict=True)]


def means_estimate(
    arm: Series, verdict: Verdict, unit: str, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> Estimate:
    """The effect (its null included) over that which the verdict is about: replicates, or steps of these runs."""
    if verdict.scope == WITHIN:
        return arm.test(arm.steps).estimate(unit, bounds)
    found = t_interval([arm.statistic(one) + arm.null for one in arm.steps], unit)
    if found.low is None or found.high is None:
        return found
    return replace(found, low=max(found.low, bounds[0]), high=min(found.high, bounds[1]))


def scope_text(verdict: Verdict, count: int) -> str:
    """`over 7 replicates`, or `in these runs`."""
    return in_these_runs(count) if verdict.scope == WITHIN else replicates_text(count)


def replicates_text(count: int) -> str:
    """`over 3 replicates`, or `in the one replicate`."""
    return f"over {count} replicates" if count != 1 else "in the one replicate"


def in_these_runs(count: int) -> str:
    """How a finding within runs is labelled."""
    return "in these runs" if count != 1 else "in this run"


def _over_replicates(
    values: Sequence[float] | Floats, p: float | None, direction: int, arms: int, margin: float
) -> Verdict:
    mean = float(np.mean(values)) if len(values) else 0.0
    if p is not None and p < ALPHA:
        return Verdict(SUPPORTED if mean * direction > 0 else REFUTED, p, scope=OVER)
    seeds = max(len(values), replicates_needed(arms))
    decides = too_few(len(values), arms)
    surely_small = guarded_p(np.asarray(values) - math.copysign(margin, mean)) if margin > abs(mean) else None
    if surely_small is not None and surely_small < ALPHA:
        decides = "A margin below what counts here: the effect is surely smaller."
    return Verdict(UNDECIDED, p, decides, OVER, detectable(values, seeds), seeds)


def _within(p: float | None, effects: list[float], direction: int, margin: float) -> Verdict:
    if p is None:
        decides = "More steps, or six replicates: neighbouring steps are alike, so that these are too few to test."
        return Verdict(UNDECIDED, None, decides, WITHIN)
    if p >= ALPHA:
        decides = "More steps, or six replicates: the effect is not told from the noise between steps."
        return Verdict(UNDECIDED, p, decides, WITHIN)
    if all(effect * direction > margin for effect in effects):
        return Verdict(SUPPORTED, p, scope=WITHIN)
    if all(-effect * direction > margin for effect in effects):
        return Verdict(REFUTED, p, scope=WITHIN)
    return Verdict(UNDECIDED, p, "More replicates: those of this run disagree about it.", WITHIN)


def _decides(verdict: Verdict, effect: Estimate) -> str:
    """What would decide it, with the effect that so many replicates would find."""
    if verdict.verdict != UNDECIDED:
        return ""
    found = verdict.detectable
    if found is None or not math.isfinite(found) or found <= 0:
        return verdict.decides
    amount = f"{significant(found, 2)} {effect.unit}"
    if effect.unit == "share":
        amount = f"{decimal(100 * found)} points"
    if effect.unit == "ratio":
        amount = f"a factor of {significant(found, 3)}"
    return (
        f"{verdict.decides} With {verdict.seeds} replicates at this spread, {amount} would be found four times in five."
    )


def _result(
    definition: Definition, arm: str, verdict: Verdict, effect: Estimate, sentence: str, variant: str
) -> ClaimResult:
    return ClaimResult(
        id=definition.id,
        claim=definition.claim,
        arm=arm,
        verdict=verdict.verdict,
        effect=effect,
        p_value=verdict.p_value,
        sentence=sentence,
        statistic=definition.statistic,
        null=definition.null,
        margin=definition.margin,
        decides=_decides(verdict, effect),
        variant=variant,
        scope=verdict.scope or definition.decided,
        detectable=verdict.detectable if verdict.verdict == UNDECIDED else None,
    )
