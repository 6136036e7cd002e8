"""At which learning rate was each arm judged, and how was that rate found? The races of a run, as curves and in words.

A comparison at one rate for all arms speaks of that rate: an arm that trains little may only have wanted a higher one.
So the rate stands wherever a number depends on it, with how it was found.
"""

from __future__ import annotations

import math

from frostline.readable import learning_rate
from frostline.stats.runs import VariantRun
from frostline.stats.summary import ArmSummary, RateCurve, RateTrial

EACH_BEST, AS_GIVEN = "each arm's best", "the given rates"


def rate_curves(variant: VariantRun) -> dict[str, RateCurve]:
    """The race of each arm that held one, in the order of the recipe."""
    curves = {}
    for arm in variant.recipe.arms:
        trials = sorted((one for one in variant.rates_tried if one.arm == arm), key=lambda one: one.learning_rate)
        chosen = next((one for one in variant.rates_chosen if one.arm == arm), None)
        if not trials:
            continue
        curves[arm] = RateCurve(
            arm=arm,
            trials=[RateTrial(one.learning_rate, _finite(one.loss_nats), one.diverged, one.steps) for one in trials],
            chosen=None if chosen is None else chosen.learning_rate,
            method="" if chosen is None else chosen.method,
            low=None if chosen is None else chosen.low,
            high=None if chosen is None else chosen.high,
            untouched=None if chosen is None else _finite(chosen.untouched_loss_nats),
            reused_from="" if chosen is None else chosen.reused_from,
        )
    return curves


def rate_chosen(variant: VariantRun, arm: str) -> str:
    """How the rate of `arm` was found, in a phrase; '' where the recipe gives it."""
    return next((one.method for one in variant.rates_chosen if one.arm == arm), "")


def at_rates(variant: VariantRun) -> str:
    """At which rates the arms that began are compared: `each arm's best`, or `the given rates`."""
    return EACH_BEST if all(rate_chosen(variant, arm) for arm in variant.arms) else AS_GIVEN


def at_rate(arm: ArmSummary) -> str:
    """`at 2e-4, the best of 5 rates tried`; without the end where the recipe gives the rate."""
    found = f", {arm.rate_chosen}" if arm.rate_chosen else ""
    return f"at {learning_rate(arm.learning_rate)}{found}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
