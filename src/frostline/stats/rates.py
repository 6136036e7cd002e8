"""At which learning rate was each arm judged, and how was that rate found? The races of a run, as curves and in words.

A comparison at one rate for all arms speaks of that rate: an arm that trains little may only have wanted a higher one.
So the rate stands wherever a number depends on it, with how it was found.
"""

from __future__ import annotations

from dataclasses import dataclass

from frostline.stats.estimate import known
from frostline.stats.runs import VariantRun

EACH_BEST, AS_GIVEN = "each arm's best", "the given rates"


@dataclass(frozen=True)
class RateTrial:
    """One rate that an arm tried in its race."""

    learning_rate: float
    """Peak learning rate of the trial."""
    loss_nats: float | None
    """Loss on the windows of the race at its end; None where it diverged."""
    diverged: bool
    """Whether training diverged."""
    steps: int
    """Steps taken: fewer than the run's where it was stopped as diverged."""


@dataclass(frozen=True)
class RateCurve:
    """The race of learning rates that an arm held before the run, on windows that serve nothing else."""

    arm: str
    """Name of the arm."""
    trials: list[RateTrial]
    """The rates tried, ascending."""
    chosen: float | None
    """The rate that the arm trained at; None where every trial diverged, or the race did not end."""
    method: str
    """How that follows from the trials."""
    low: float | None
    """The next lower rate that was tried; the best one itself where there is none."""
    high: float | None
    """The next higher rate."""
    untouched: float | None
    """Loss of the untouched model on the same windows."""
    reused_from: str
    """The earlier run that the race was taken from, name and time; '' where it was this one."""


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
            trials=[RateTrial(one.learning_rate, known(one.loss_nats), one.diverged, one.steps) for one in trials],
            chosen=None if chosen is None else chosen.learning_rate,
            method="" if chosen is None else chosen.method,
            low=None if chosen is None else chosen.low,
            high=None if chosen is None else chosen.high,
            untouched=None if chosen is None else known(chosen.untouched_loss_nats),
            reused_from="" if chosen is None else chosen.reused_from,
        )
    return curves


def rate_chosen(variant: VariantRun, arm: str) -> str:
    """How the rate of `arm` was found, in a phrase; '' where the recipe gives it."""
    return next((one.method for one in variant.rates_chosen if one.arm == arm), "")


def at_rates(variant: VariantRun) -> str:
    """At which rates the arms that began are compared: `each arm's best`, or `the given rates`."""
    return EACH_BEST if all(rate_chosen(variant, arm) for arm in variant.arms) else AS_GIVEN
