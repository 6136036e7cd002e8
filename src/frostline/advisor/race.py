"""Who goes on, who is left behind, at which rates? Decisions of a race, as functions of its trials.

Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943), by thirds as in Hyperband: each rung trains three
times as long and keeps a third. All trials of a race read the same windows in the same order, so that two plans are
compared window by window. It is decided on windows that no trial trains on, and the outcome is judged on others, the
held-out ones: the winner of many is not flattered by the windows that made it win.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from frostline.advisor.candidates import FULL, UPPER_HALF
from frostline.arms import choose_rate
from frostline.run_folder import CandidateMade, TrialFinished

FACTOR = 3
RUNGS = 3
"""Rungs at most; the last one is number `RUNGS - 1`, and a short race begins with a later one."""
FEWEST_STEPS = 3
"""Fewest steps of a rung: the first one or two say little of where a plan gets to."""
RATES = (1 / 9, 1 / 3, 1.0, 3.0, 9.0, 27.0)
"""Learning rates as multiples of the recipe's: a plan that trains little wants a higher one."""
FIRST_RATES = RATES[1:4]
"""Rates of the first of three rungs, which has the most plans; the next one looks further."""
FEWEST_KEPT = 3
LEVEL = 0.95


@dataclass(frozen=True)
class Paired:
    """Difference of two plans' losses over the same windows, in nats per token; below zero, the first is better."""

    mean: float
    low: float
    high: float
    windows: int

    @property
    def than(self) -> str:
        """The verdict, as it stands between the two in a sentence."""
        return "better than" if self.better else "worse than" if self.worse else "not told apart from"

    @property
    def worse(self) -> bool:
        """Whether the first is worse, as sure as the level."""
        return self.low > 0

    @property
    def better(self) -> bool:
        """Whether the first is better, as sure as the level."""
        return self.high < 0


@dataclass(frozen=True)
class Standing:
    """A candidate at the best of its learning rates in one rung."""

    candidate: str
    learning_rate: float
    steps: int
    window_losses: tuple[float, ...]
    """Losses on the windows that decide; empty where every trial of it failed."""
    held_out_losses: tuple[float, ...]
    """Losses on the windows that judge; in the last rung only."""
    seconds: float

    @property
    def loss(self) -> float:
        """Mean over the windows that decide; infinite where every trial failed."""
        return float(np.mean(self.window_losses)) if self.window_losses else math.inf

    @property
    def held_out_loss(self) -> float:
        """Mean over the windows that judge."""
        return float(np.mean(self.held_out_losses))


def steps_of_rungs(last: int) -> dict[int, int]:
    """Steps of each rung by its number; the last one trains `last`."""
    steps = {rung: round(last / FACTOR ** (RUNGS - 1 - rung)) for rung in range(RUNGS)}
    return {rung: own for rung, own in steps.items() if own >= FEWEST_STEPS or rung == RUNGS - 1}


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """The mean difference over windows, with its t interval at `LEVEL`."""
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    n, mean = len(differences), float(differences.mean())
    if n < 2:
        return Paired(mean, -math.inf, math.inf, n)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, n - 1) * differences.std(ddof=1) / math.sqrt(n))
    return Paired(mean, mean - half, mean + half, n)


def standings(trials: Sequence[TrialFinished], rung: int) -> list[Standing]:
    """Each candidate of `rung` at its best rate, best first."""
    by_candidate: dict[str, list[TrialFinished]] = {}
    for trial in trials:
        if trial.rung == rung:
            by_candidate.setdefault(trial.candidate, []).append(trial)
    found = []
    for name, own in by_candidate.items():
        best = min(own, key=loss_of)
        found.append(
            Standing(
                name,
                best.learning_rate,
                best.steps,
                tuple(best.window_losses),
                tuple(best.held_out_losses),
                best.seconds,
            )
        )
    return sorted(found, key=lambda standing: standing.loss)


def next_rate(trials: Sequence[TrialFinished], rung: int, candidate: str, base: float) -> float | None:
    """The learning rate at which `candidate` is to be tried next in `rung`; None where it has been tried enough.

    In the first of three rungs those next to the base rate; in the one before the last all, from the best rate so far
    to where neither side is better; in the last one the lowest point of the parabola through those.
    """
    # An advice that was begun before rates were rounded holds the same ones unrounded, and goes on with them.
    tried = {written(rate): loss for rate, loss in losses_by_rate(trials, rung, candidate).items()}
    before = {written(rate): loss for rate, loss in losses_by_rate(trials, rung - 1, candidate).items()}
    if rung == RUNGS - 1 and before:
        return next((rate for rate in last_rates(before) if rate not in tried), None)
    start = min(before, key=before.__getitem__) if before else written(base)
    return next_in_valley(tried, rates_around(base, FIRST_RATES if rung == 0 else RATES), start)


def last_rates(before: Mapping[float, float]) -> tuple[float, ...]:
    """The rates of the last rung, by the losses of the one before it, at a third of the steps.

    One that was best at the edge of all that were tried has its neighbour beyond the edge retried with it.
    """
    choice = choose_rate(before)
    if choice is None:
        return (min(before),)
    rate = choice.learning_rate
    if rate == min(before) and len(before) > 1:
        return rate, written(rate / FACTOR)
    return (rate, written(rate * FACTOR)) if rate == max(before) and len(before) > 1 else (rate,)


def rates_around(base: float, factors: Sequence[float] = RATES) -> list[float]:
    """The rates that may be tried, lowest first."""
    return [written(base * factor) for factor in factors]


def written(rate: float) -> float:
    """`rate` to six significant digits, as which it stands in a recipe: 0.0018, which 9 * 0.0002 is not quite."""
    return float(f"{rate:.5e}")


def next_in_valley(tried: Mapping[float, float], rates: Sequence[float], start: float) -> float | None:
    """The next of `rates` (ascending) to be tried, by the losses of those that were; None where the best is known.

    The loss is taken to have one valley over the rate: from `start` one up, and on until the best rate is one whose
    neighbours are both no better.
    """
    if start not in tried:
        return start
    best = rates.index(min(tried, key=tried.__getitem__))
    neighbours = [rates[place] for place in (best + 1, best - 1) if 0 <= place < len(rates)]
    return next((rate for rate in neighbours if rate not in tried), None)


def losses_by_rate(trials: Sequence[TrialFinished], rung: int, candidate: str) -> dict[float, float]:
    """Loss of each trial of `candidate` in `rung`, on the windows that decide, by its learning rate."""
    return {own.learning_rate: loss_of(own) for own in trials if own.rung == rung and own.candidate == candidate}


def loss_of(trial: TrialFinished) -> float:
    """Mean over the windows that decide, in nats per token; infinite where the trial failed."""
    return float(np.mean(trial.window_losses)) if trial.window_losses else math.inf


def decide(
    trials: Sequence[TrialFinished], rung: int, candidates: Mapping[str, CandidateMade]
) -> tuple[list[str], dict[str, str]]:
    """Who goes on after `rung`, best first, and why the others do not.

    Kept are the best third (three at least), unless the paired interval says that one is worse than the best; and
    whatever the advice is compared with: full training, the upper half, the best random choice.
    """
    found = standings(trials, rung)
    compared = comparisons_in(found, candidates)
    racing = [standing for standing in found if candidates[standing.candidate].origin not in ("full", "random")]
    room = max(FEWEST_KEPT, math.ceil(len(racing) / FACTOR))
    kept: list[str] = []
    dropped: dict[str, str] = {}
    for place, standing in enumerate(racing):
        name = standing.candidate
        if not standing.window_losses:
            dropped[name] = "every trial failed"
        elif place > 0 and paired(standing.window_losses, racing[0].window_losses).worse and place >= FEWEST_KEPT:
            dropped[name] = f"worse than {racing[0].candidate}"
        elif place >= room:
            dropped[name] = f"place {place + 1} of {len(racing)}"
        else:
            kept.append(name)
    for standing in found:
        name = standing.candidate
        if name in compared and name not in kept and standing.window_losses:
            dropped.pop(name, None)
            kept.append(name)
        elif name not in kept:
            dropped.setdefault(name, "another random choice was better")
    order = {standing.candidate: place for place, standing in enumerate(found)}
    return sorted(kept, key=order.__getitem__), dropped


def comparisons_in(found: Sequence[Standing], candidates: Mapping[str, CandidateMade]) -> set[str]:
    """Names of what the advice is compared with: never left behind."""
    compared = {name for name in (FULL, UPPER_HALF) if name in candidates}
    controls = [standing.candidate for standing in found if candidates[standing.candidate].origin == "random"]
    return compared | set(controls[:1])
