"""Which learning rates does an arm try before the run, and which one does it take? Rules, as functions of the losses.

An arm is compared fairly at its own best rate, and what trains little wants a higher one than full training. So each
arm races a few rates, a factor of three apart, on windows that serve nothing else; where the best one is at the edge,
the race goes on beyond it. The loss over the logarithm of the rate is close to a parabola about its lowest point: the
one through the best rate and its neighbours tells where that point is.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from frostline.arms.trained import trained_values
from frostline.plans import ResolvedPlan
from frostline.recipe import Recipe, TrainingSettings

FACTOR = 3.0
FULL_RATE = 2e-4
"""Where the race of an arm that trains everything begins."""
SPARSITY_EXPONENT = 0.4
"""An arm that trains the share s of the values begins at `FULL_RATE` / s ** 0.4, or what is nearest of the grid."""
MOST_BEYOND = 3
"""Rates tried at most beyond either end of the grid."""
USUAL_TRIALS = 4
"""Trials that an arm takes as a rule, for who has to guess."""
TRIAL_SHARE, FEWEST_STEPS = 0.5, 8
"""Steps of a trial over those of the run, and the fewest. `bench/rates.py` shows what that costs."""
DIVERGED_NATS = 2.0
"""A trial has diverged once its loss is so far above that of the untouched model: seven times the perplexity."""


@dataclass(frozen=True)
class RateChoice:
    """What a race ended with."""

    learning_rate: float
    method: str
    """How it follows from the trials, in a phrase."""
    low: float
    """The next lower rate that was tried; the rate itself where there is none."""
    high: float
    """The next higher rate."""


def start_rate(resolved: ResolvedPlan) -> float:
    """The rate at which the race of such a plan begins: on a grid that all arms share, higher for what trains less."""
    share = trained_values(resolved) / max(1, resolved.parameters)
    places = round(math.log(max(share, 1e-9) ** -SPARSITY_EXPONENT, FACTOR))
    return two_digits(FULL_RATE * FACTOR**places)


def grid_of(resolved: ResolvedPlan, training: TrainingSettings) -> tuple[float, ...]:
    """The rates that such a plan tries in any case, ascending."""
    if training.rates is not None:
        return training.rates
    start = start_rate(resolved)
    return two_digits(start / FACTOR), start, two_digits(start * FACTOR)


def next_rate(tried: Mapping[float, float], grid: Sequence[float]) -> float | None:
    """The rate to try next, by the losses of those that were tried (infinite: it diverged); None where that is enough.

    First the grid, lowest first, up to where training diverges; then on from whichever edge is the best.
    """
    tried = _steady(tried)
    diverged = min((rate for rate, loss in tried.items() if not math.isfinite(loss)), default=math.inf)
    for rate in grid:
        if rate not in tried and rate < diverged:
            return rate
    best = _best(tried)
    if best == min(tried) and sum(rate < grid[0] for rate in tried) < MOST_BEYOND:
        return two_digits(best * grid[0] / grid[1])
    if best == max(tried) and best < diverged and sum(rate > grid[-1] for rate in tried) < MOST_BEYOND:
        return two_digits(best * grid[-1] / grid[-2])
    return None


def choose_rate(tried: Mapping[float, float]) -> RateChoice | None:
    """The best rate by the losses of those that were tried; None where training diverged at all of them."""
    tried = _steady(tried)
    best = _best(tried)
    if not math.isfinite(tried[best]):
        return None
    rates = sorted(tried)
    place = rates.index(best)
    low, high = rates[max(0, place - 1)], rates[min(len(rates) - 1, place + 1)]
    of_all = f"the best of {len(tried)} rates tried"
    if low == best or high == best:
        return RateChoice(best, f"{of_all}, at their edge", low, high)
    if not math.isfinite(tried[high]):
        return RateChoice(best, f"{of_all}; the next higher one diverged", low, high)
    lowest = two_digits(_lowest_point([(rate, tried[rate]) for rate in (low, best, high)]))
    if lowest == two_digits(best):
        return RateChoice(best, of_all, low, high)
    return RateChoice(lowest, f"by a parabola through the best of {len(tried)} rates tried", low, high)


def race_seed(recipe: Recipe) -> int:
    """The seed of every trial: none of the recipe's, and the same whichever those are, unless one is just this."""
    seed = int.from_bytes(hashlib.sha256(b"frostline race of learning rates").digest()[:7], "big")
    while seed in recipe.seeds:
        seed += 1
    return seed


def trial_training(training: TrainingSettings, resolved: ResolvedPlan) -> TrainingSettings:
    """How a trial of such a plan trains: as the run does, for half as long, warm-up and decay drawn in with it.

    As long as the run where that is short, or where the plan changes over time: half of it would be another plan.
    """
    steps = training.steps
    if len(resolved.phases) == 1:
        steps = max(min(FEWEST_STEPS, steps), math.ceil(TRIAL_SHARE * steps))
    return training.model_copy(update={"steps": steps, "warmup": round(training.warmup * steps / training.steps)})


def two_digits(rate: float) -> float:
    """`rate` to two significant digits."""
    return float(f"{rate:.1e}")


def _steady(tried: Mapping[float, float]) -> dict[float, float]:
    """`tried`, above the lowest rate that diverged without their losses: what training finds there is an accident."""
    diverged = min((rate for rate, loss in tried.items() if not math.isfinite(loss)), default=math.inf)
    return {rate: loss if rate < diverged else math.inf for rate, loss in tried.items()}


def _best(tried: Mapping[float, float]) -> float:
    """The rate of the lowest loss, the lowest of equals."""
    return min(sorted(tried), key=tried.__getitem__)


def _lowest_point(points: Sequence[tuple[float, float]]) -> float:
    """Where the parabola through three points over the logarithm of the rate is lowest, within their span.

    The middle one is the lowest of the three.
    """
    (left, at_left), (middle, at_middle), (right, at_right) = [(math.log(rate), loss) for rate, loss in points]
    rise_left, rise_right = at_left - at_middle, at_right - at_middle
    reach_left, reach_right = middle - left, right - middle
    curvature = rise_left * reach_right + rise_right * reach_left
    if curvature <= 0:
        return math.exp(middle)
    shift = (rise_left * reach_right**2 - rise_right * reach_left**2) / (2 * curvature)
    return math.exp(min(max(middle + shift, left), right))
