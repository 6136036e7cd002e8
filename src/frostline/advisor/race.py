"""Who goes on, who is left behind, and what is recommended? Decisions of a race, as functions of its trials.

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
from frostline.readable import percent
from frostline.run_folder import CandidateMade, TrialFinished
from frostline.stats import SAME_SIZE

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
    to where neither side is better; in the last one that best rate alone.
    """
    tried = losses_by_rate(trials, rung, candidate)
    before = losses_by_rate(trials, rung - 1, candidate)
    start = min(before, key=before.__getitem__) if before else base
    if rung == RUNGS - 1 and before:
        return None if start in tried else start
    return next_in_valley(tried, rates_around(base, FIRST_RATES if rung == 0 else RATES), start)


def rates_around(base: float, factors: Sequence[float] = RATES) -> list[float]:
    """The rates that may be tried, lowest first."""
    return [base * factor for factor in factors]


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


@dataclass(frozen=True)
class Recommendation:
    """What the race ends with."""

    pick: Standing
    candidate: CandidateMade
    front: list[str]
    """Candidates that no other beats in both held-out loss and time, cheapest first."""
    memory_front: list[str]
    """Candidates that no other beats in both held-out loss and memory, smallest first."""
    against: dict[str, Paired]
    """The pick against whatever else was in the last rung."""
    control: str | None
    """The random choice of the same size that it is compared with."""
    beats_control: bool
    sentences: list[str]


def recommend(trials: Sequence[TrialFinished], candidates: Mapping[str, CandidateMade]) -> Recommendation | None:
    """The best of the last rung that keeps the budget, and how sure that is; None where every trial failed."""
    found = [standing for standing in standings(trials, RUNGS - 1) if standing.held_out_losses]
    racing = [standing for standing in found if _may_be_picked(candidates[standing.candidate])]
    if not racing:
        return None
    pick = racing[0]
    others = [standing for standing in found if standing is not pick]
    against = {other.candidate: paired(pick.held_out_losses, other.held_out_losses) for other in others}
    control = _control_of(candidates[pick.candidate], others, candidates)
    return Recommendation(
        pick=pick,
        candidate=candidates[pick.candidate],
        front=_front(found, {name: made.expected_seconds for name, made in candidates.items()}),
        memory_front=_front(found, {name: made.expected_peak_bytes for name, made in candidates.items()}),
        against=against,
        control=control,
        beats_control=control is not None and against[control].better,
        sentences=_sentences(pick, candidates, len(racing), against, control),
    )


def _control_of(pick: CandidateMade, others: Sequence[Standing], candidates: Mapping[str, CandidateMade]) -> str | None:
    """The best random choice of the size of `pick`."""
    for other in others:
        made = candidates[other.candidate]
        difference = abs(made.trained_parameters - pick.trained_parameters)
        if made.origin == "random" and difference <= SAME_SIZE * pick.trained_parameters:
            return other.candidate
    return None


def _may_be_picked(candidate: CandidateMade) -> bool:
    return candidate.origin not in ("full", "random") and not candidate.exceeds


def _front(found: Sequence[Standing], costs: Mapping[str, float]) -> list[str]:
    """Sorted by cost, each one must be better than all that are cheaper."""
    front: list[str] = []
    best = math.inf
    for standing in sorted(found, key=lambda own: (costs[own.candidate], own.held_out_loss)):
        if standing.held_out_loss < best:
            front.append(standing.candidate)
            best = standing.held_out_loss
    return front


def _sentences(
    pick: Standing,
    candidates: Mapping[str, CandidateMade],
    finalists: int,
    against: Mapping[str, Paired],
    control: str | None,
) -> list[str]:
    candidate = candidates[pick.candidate]
    told = [
        f"Train {candidate.why} ({pick.candidate}) at a learning rate of {pick.learning_rate:.2g}: held-out loss "
        f"{pick.held_out_loss:.3f} nats a token after {pick.steps} steps, chosen from the {finalists} plans left."
    ]
    if control is None:
        told.append("No random choice of its size was raced, so that nothing says whether choosing matters here.")
    elif against[control].better:
        told.append(f"It beats a random choice of its size ({control}) by {_interval(against[control], -1)} nats.")
    elif against[control].worse:
        told.append(
            f"A random choice of its size ({control}) is better: by {_interval(against[control])} nats. Choosing where "
            "to train was no help here; how much to train may matter."
        )
    else:
        told.append(
            f"A random choice of its size ({control}) does as well: the difference is {_interval(against[control])} "
            "nats. Where to train was not shown to matter here; how much may."
        )
    for name, what in ((UPPER_HALF, "training the upper half of the layers"), (FULL, "full training")):
        if name in against:
            told.append(f"It is {_than(against[name])} {what}: {_interval(against[name])} nats.")
    full = candidates[FULL]
    time, cached, memory = (
        percent(share, 0)
        for share in (
            candidate.expected_seconds / full.expected_seconds,
            candidate.expected_seconds_cached / full.expected_seconds,
            candidate.expected_peak_bytes / full.expected_peak_bytes,
        )
    )
    told.append(
        f"A step is expected to take {time} of full training's time ({cached} once its prefix is stored) and {memory} "
        "of its memory."
    )
    told.append(
        f"Intervals are 95 %, over {len(pick.held_out_losses)} held-out windows and one seed, which say nothing about "
        "other seeds: run the recipe written beside this, with seven seeds or more, to know."
    )
    return told


def _than(difference: Paired) -> str:
    return "better than" if difference.better else "worse than" if difference.worse else "not told apart from"


def _interval(found: Paired, sign: int = 1) -> str:
    low, high = sorted((sign * found.low, sign * found.high))
    return f"{sign * found.mean:.3f} [{low:.3f}, {high:.3f}]"
