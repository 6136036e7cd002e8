"""Was training stable, as its users mean it? Divergence, clipped steps, and how far seeds lie apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from frostline.stats import scalars
from frostline.stats.arm_run import ArmRun
from frostline.stats.estimate import Estimate
from frostline.stats.intervals import LEVEL, finite, nothing
from frostline.stats.trade import AS_THEY_ARE, SEEDS_SHOWN, over_seeds


def diverged(run: ArmRun) -> bool:
    """Whether a loss was not finite, or the held-out loss ended above where it began."""
    if len(run.losses) and not np.isfinite(run.losses).all():
        return True
    return scalars.held_out_after(run) > scalars.held_out_before(run)


def clipped(run: ArmRun, limit: float | None) -> float:
    """Share of the steps whose gradient had a norm above `limit`; NaN where nothing is clipped."""
    norms = finite([step.gradient_norm for step in run.steps])
    return math.nan if limit is None or not len(norms) else float(np.mean(norms > limit))


def clipped_share(runs: Sequence[ArmRun], limit: float | None) -> Estimate | None:
    """Mean of `clipped` over replicates; None where nothing is clipped."""
    found = over_seeds([clipped(run, limit) for run in runs], "share")
    return None if found.value is None else found


def seed_spread(runs: Sequence[ArmRun]) -> Estimate:
    """Standard deviation over replicates of the held-out loss at the end, with its chi-squared interval."""
    known = finite([scalars.held_out_after(run) for run in runs])
    n = len(known)
    if n < 2:
        return nothing("nats")
    value = float(known.std(ddof=1))
    if n <= SEEDS_SHOWN:
        return Estimate(value, None, None, n, "nats", AS_THEY_ARE)
    low, high = (math.sqrt((n - 1) / float(stats.chi2.ppf(end, n - 1))) for end in (0.5 + LEVEL / 2, 0.5 - LEVEL / 2))
    return Estimate(value, low * value, high * value, n, "nats", "chi-squared interval over replicates")
