"""Would other seeds, and other windows of this text, say the same? An interval over both.

All seeds are judged by the same held-out windows, so that an interval over seeds alone holds for these windows. Here
each seed and window gives a difference, and what they have in common by seed, and by window, are the two parts of its
error: the variance components of two crossed random factors (Cornfield and Tukey 1956, *Annals of Mathematical
Statistics* 27:907), in the way that Owen 2007 (*Annals of Applied Statistics* 1:386) bootstraps them. The degrees of
freedom are Satterthwaite's (1946, *Biometrics Bulletin* 2:110).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from frostline.stats.arm_run import ArmRun
from frostline.stats.estimate import Estimate
from frostline.stats.intervals import LEVEL
from frostline.stats.pairs import Pairs

Floats = NDArray[np.float64]

OVER_BOTH = "crossed, over seeds and windows"
OVER_WINDOWS = "t over windows, of one seed"
POPULATION = {
    OVER_BOTH: "other seeds and other windows of this text",
    OVER_WINDOWS: "other windows of this text, with this seed",
}
"""Of what an interval speaks, by its method."""


def held_out_crossed(pairs: Pairs) -> Estimate | None:
    """The difference of the held-out loss after training, arm minus baseline, with an interval over seeds and windows.

    None where the journal has no losses of single windows, or fewer than two of them.
    """
    rows, weights = [], np.empty(0)
    for pair in pairs.pairs:
        own, others = _last_windows(pair.arm), _last_windows(pair.baseline)
        if own.size and own.shape == others.shape:
            rows.append(own - others)
            weights = pair.arm.window_predictions
    same = {len(row) for row in rows} == {len(weights)}
    return crossed_interval(np.array(rows), weights, "nats") if rows and same else None


def crossed_interval(
    values: Floats, weights: Sequence[float] | Floats, unit: str, level: float = LEVEL
) -> Estimate | None:
    """Mean of `values` [seeds, windows], windows weighed by `weights`, with an interval of `level` over both.

    Seeds of which a value is not finite are left out, and windows of no weight; None where fewer than two windows are
    left. One seed gives an interval over windows alone.
    """
    share = np.asarray(weights, dtype=np.float64)
    known = values[:, share > 0]
    known, share = known[np.isfinite(known).all(axis=1)], share[share > 0]
    seeds, windows = known.shape
    if seeds == 0 or windows < 2:
        return None
    share = share / share.mean()
    mean = float((known * share).mean())
    # What each value adds to the error of the weighted mean; its own mean is 0.
    beyond = (known - mean) * share
    half = _half(*_alone(beyond[0]), level)
    if seeds > 1:
        # With few seeds the components are guesses; an interval that speaks of more is never the narrower one.
        half = max(_half(*_of_both(beyond), level), _half(*_alone(beyond.mean(axis=1)), level))
    return Estimate(mean, mean - half, mean + half, seeds, unit, OVER_WINDOWS if seeds == 1 else OVER_BOTH)


def _half(error: float, degrees: float, level: float) -> float:
    """Half the width of an interval."""
    return float(stats.t.ppf(0.5 + level / 2, degrees) * error) if error > 0 else 0.0


def _alone(values: Floats) -> tuple[float, float]:
    """(standard error, degrees of freedom) of the mean of independent `values`."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)), len(values) - 1


def _of_both(beyond: Floats) -> tuple[float, float]:
    """(standard error, degrees of freedom) of the mean of `beyond` [seeds, windows]."""
    seeds, windows = beyond.shape
    by_seed, by_window = beyond.mean(axis=1), beyond.mean(axis=0)
    rest = beyond - by_seed[:, None] - by_window + beyond.mean()
    squares = (
        windows * float(by_seed @ by_seed) / (seeds - 1),
        seeds * float(by_window @ by_window) / (windows - 1),
        float((rest**2).sum()) / ((seeds - 1) * (windows - 1)),
    )
    of_seeds, of_windows, of_rest = squares
    # Seeds and windows each hold the rest once. Where a component would be negative, the larger one stands alone.
    total = max(of_seeds + of_windows - of_rest, of_seeds, of_windows)
    if total <= 0:
        return 0.0, 1.0
    parts = of_seeds**2 / (seeds - 1) + of_windows**2 / (windows - 1)
    return math.sqrt(total / (seeds * windows)), max(1.0, total**2 / parts)


def _last_windows(run: ArmRun) -> Floats:
    """[windows] held-out losses at the last evaluation after training began; empty where there are none."""
    steps = [step for step in run.held_out_windows if step > 0]
    return run.held_out_windows[max(steps)] if steps else np.empty(0)
