"""Could it be chance? Tests over replicates: the exact sign-flip test, Holm's correction, and equivalence.

A replicate gives one paired difference. If the arm made no difference, each would be as likely with its sign turned,
so that all 2^n patterns of signs are equally likely: with n replicates no two-sided p is below 2 / 2^n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from frostline.stats.intervals import finite, generator_for

ALPHA = 0.05
EXACT_UP_TO = 14
"""Replicates up to which every pattern of signs is tried."""
MONTE_CARLO_FLIPS = 20_000
MINIMUM_REPLICATES = 6
"""The fewest replicates with which a two-sided exact p can be below 0.05: 2 / 2^6 = 0.031."""


def sign_flip_p(differences: ArrayLike) -> float | None:
    """Two-sided p of the mean being 0, over all 2^n sign patterns; None with fewer than 2 finite differences.

    Above `EXACT_UP_TO` differences, `MONTE_CARLO_FLIPS` random patterns, drawn by a hash of the data, and
    (hits + 1) / (flips + 1), which keeps the test valid (Phipson and Smyth 2010).
    """
    known = finite(differences)
    n = len(known)
    if n < 2:
        return None
    observed = abs(float(known.sum()))
    tolerance = 1e-12 * float(np.abs(known).sum())  # patterns that tie with the observed one count
    if n <= EXACT_UP_TO:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float(np.mean(np.abs(signs @ known) >= observed - tolerance))
    generator = generator_for([known])
    signs = 1.0 - 2.0 * generator.integers(2, size=(MONTE_CARLO_FLIPS, n))
    hits = int(np.sum(np.abs(signs @ known) >= observed - tolerance))
    return (hits + 1) / (MONTE_CARLO_FLIPS + 1)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction over those p-values that are there (Holm 1979)."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        corrected[place] = largest
    return corrected


def equivalence_p(differences: ArrayLike, margin: float) -> float | None:
    """p of the mean lying outside of plus or minus `margin`: two one-sided t tests, the larger p (Schuirmann 1987).

    None with fewer than 2 finite differences.
    """
    known = finite(differences)
    n = len(known)
    if n < 2:
        return None
    mean, error = float(known.mean()), float(known.std(ddof=1)) / math.sqrt(n)
    if error == 0:
        return 0.0 if abs(mean) < margin else 1.0
    above_lower = stats.t.sf((mean + margin) / error, n - 1)
    below_upper = stats.t.cdf((mean - margin) / error, n - 1)
    return float(max(above_lower, below_upper))


def replicates_needed(comparisons: int = 1) -> int:
    """The fewest replicates with which the sign-flip test can be below 0.05 after Holm over `comparisons`."""
    n = MINIMUM_REPLICATES
    while max(1, comparisons) * 2 / 2**n >= ALPHA:
        n += 1
    return n
