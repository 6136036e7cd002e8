"""When is a claim supported, refuted or undecided? The rules that all claims share.

Over replicates: only an exact sign-flip p below 0.05 after Holm decides, so that six replicates are the fewest. Within
runs: a bootstrapped p below 0.05 after Holm decides, if every replicate points the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frostline.stats.claims.context import Context, Obstacle
from frostline.stats.claims.definitions import Definition
from frostline.stats.intervals import Floats, nothing
from frostline.stats.significance import ALPHA, holm, replicates_needed, sign_flip_p
from frostline.stats.summary import ClaimResult, Estimate

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"


@dataclass(frozen=True)
class Verdict:
    """A verdict with its p-value and, where undecided, what would decide it."""

    verdict: str
    p_value: float | None
    decides: str = ""


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


def over_replicates(differences: Sequence[Sequence[float] | Floats], direction: int) -> list[Verdict]:
    """A verdict for each arm's differences (one a replicate); `direction` is the sign that the claim predicts."""
    p_values = holm([sign_flip_p(values) for values in differences])
    return [
        _over_replicates(values, p, direction, len(differences))
        for values, p in zip(differences, p_values, strict=True)
    ]


def too_few(replicates: int, arms: int) -> str:
    """What would decide a claim over replicates that `replicates` cannot."""
    needed = replicates_needed(arms)
    if replicates < needed:
        corrected = f" (with Holm's correction over {arms} arms)" if arms > 1 else ""
        have = f"with {replicates}" if replicates else "without any"
        return f"{needed} replicates or more{corrected}: {have} no exact test can reach p < 0.05."
    return f"More replicates, or longer runs: with {replicates} replicates the difference is not told from chance."


def within_runs(p_values: Sequence[float | None], signs: Sequence[Sequence[float]], direction: int) -> list[Verdict]:
    """A verdict for each arm from its bootstrapped p-value and the effect in each replicate (of which the sign counts).

    An effect counts where it has the same sign in every replicate.
    """
    return [_within(p, list(own), direction) for p, own in zip(holm(list(p_values)), signs, strict=True)]


def replicates_text(count: int) -> str:
    """`over 3 replicates`, or `in the one replicate`."""
    return f"over {count} replicates" if count != 1 else "in the one replicate"


def in_these_runs(count: int) -> str:
    """How a finding within runs is labelled."""
    return "in these runs" if count != 1 else "in this run"


def _over_replicates(values: Sequence[float] | Floats, p: float | None, direction: int, arms: int) -> Verdict:
    if p is not None and p < ALPHA:
        return Verdict(SUPPORTED if float(np.sum(values)) * direction > 0 else REFUTED, p)
    return Verdict(UNDECIDED, p, too_few(len(values), arms))


def _within(p: float | None, effects: list[float], direction: int) -> Verdict:
    if p is None:
        return Verdict(UNDECIDED, None, "More steps: a run this short has too few blocks of steps for an interval.")
    if p >= ALPHA:
        return Verdict(UNDECIDED, p, "More steps: the effect is not told from the noise between steps.")
    if all(effect * direction > 0 for effect in effects):
        return Verdict(SUPPORTED, p)
    if all(effect * direction < 0 for effect in effects):
        return Verdict(REFUTED, p)
    return Verdict(UNDECIDED, p, "More replicates: those of this run disagree about the direction.")


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
        decides=verdict.decides if verdict.verdict == UNDECIDED else "",
        variant=variant,
    )
