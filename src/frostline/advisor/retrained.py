"""Does the winner win again? It, its control and full training are trained once more, with seeds that chose nothing.

The best of many trials owes part of its place to luck, which another seed does not repeat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from frostline.advisor.race import RUNGS, Paired
from frostline.run_folder import TrialFinished
from frostline.stats import crossed_interval

RETRAINING = RUNGS
"""In place of a rung's number: the trials after the last rung."""
NEW_SEEDS = 2


@dataclass(frozen=True)
class Retrained:
    """What the plan that was picked, and those it is compared with, came to with seeds that chose nothing."""

    seeds: tuple[int, ...]
    losses: dict[str, tuple[float, ...]]
    """Held-out loss of each plan, by seed."""
    against: dict[str, Paired]
    """The pick against each of the others, over seeds and windows."""

    def loss(self, name: str) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.losses[name]))


def new_seeds(taken: Sequence[int]) -> tuple[int, ...]:
    """The lowest seeds that are none of `taken`: neither of the race nor of the run that it advises on."""
    free = (seed for seed in count() if seed not in taken)
    return tuple(next(free) for _ in range(NEW_SEEDS))


def retrained(trials: Sequence[TrialFinished], pick: str) -> Retrained | None:
    """What the trials after the last rung say; None where `pick` has none, or one of its own failed.

    Another plan is left out where one of its own failed or is missing.
    """
    own = {(trial.candidate, trial.seed): trial for trial in trials if trial.rung == RETRAINING}
    seeds = tuple(seed for name, seed in own if name == pick and seed is not None)
    windows: dict[str, list[list[float]]] = {}
    for name in dict.fromkeys(name for name, _ in own):
        found = [own[name, seed].held_out_losses for seed in seeds if (name, seed) in own]
        if len(found) == NEW_SEEDS and all(found):
            windows[name] = found
    if pick not in windows:
        return None
    losses = {name: tuple(float(np.mean(by_seed)) for by_seed in found) for name, found in windows.items()}
    against = {name: _over_both(windows[pick], found) for name, found in windows.items() if name != pick}
    return Retrained(seeds, losses, against)


def _over_both(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> Paired:
    """The mean difference of losses [seeds, windows], with its interval over both."""
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    windows = differences.shape[1]
    found = crossed_interval(differences, np.ones(windows), "nats")
    if found is None or found.low is None or found.high is None:
        return Paired(float(differences.mean()), -math.inf, math.inf, windows)
    return Paired(float(differences.mean()), found.low, found.high, windows)
