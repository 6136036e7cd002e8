"""What does a plan come to in equal time? Its loss where the quickest plan of the last rung has made all its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from frostline.advisor.candidates import LATE_CONTROL
from frostline.advisor.race import RUNGS, Standing, standings
from frostline.run_folder import CandidateMade, TrialFinished


def losses_at_equal_time(
    trials: Sequence[TrialFinished], candidates: Mapping[str, CandidateMade]
) -> dict[str, float | None]:
    """Held-out loss of each plan of the last rung in the time that the quickest of them takes for all its steps.

    A dearer plan makes fewer steps in it. What it then comes to lies between what it came to in two rungs, each at its
    best rate, on the line over the logarithm of the steps. None for fewer steps than any rung had, and for the random
    choice that was made for the pick, whose time is not known.
    """
    rungs = [{own.candidate: own for own in standings(trials, rung) if own.window_losses} for rung in range(RUNGS)]
    finalists = {
        name: own for name, own in rungs[-1].items() if own.held_out_losses and not name.startswith(LATE_CONTROL)
    }
    if not finalists:
        return {}
    quickest = min(candidates[name].expected_seconds for name in finalists)
    return {
        name: _loss_after(
            own.steps * quickest / candidates[name].expected_seconds, [rung[name] for rung in rungs if name in rung]
        )
        for name, own in finalists.items()
    }


def _loss_after(steps: float, own: Sequence[Standing]) -> float | None:
    """Held-out loss after `steps`, by what a plan came to in its rungs, `own`, fewest steps first."""
    last = own[-1]
    if steps >= last.steps:
        return last.held_out_loss
    for before, after in pairwise(own):
        if before.steps <= steps <= after.steps:
            windows = len(before.window_losses)  # the first rung has half of them
            low, high, end = (float(np.mean(rung.window_losses[:windows])) for rung in (before, after, last))
            way = math.log(steps / before.steps) / math.log(after.steps / before.steps)
            return last.held_out_loss + low + (high - low) * way - end
    return None
