"""Could it be chance? Tests over replicates: exact sign flips that skew cannot fool, Holm's correction, equivalence.

A replicate gives one paired difference. If the arm made no difference, each would be as likely with its sign turned,
so that all 2^n patterns of signs are equally likely: with n replicates no two-sided p is below 2 / 2^n.

That holds of differences that scatter evenly to both sides. Where they are skewed, most lie on one side of their mean,
and few replicates often lie there all: the test alone would err in up to 16 of 100 cases. So a verdict also needs
Hall's t, which takes skew into account, and that far beyond its usual bound (see `guarded_p`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from frostline.stats.intervals import Floats, finite, generator_for

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
        return float(np.mean(np.abs(_patterns(n) @ known) >= observed - tolerance))
    generator = generator_for([known])
    signs = 1.0 - 2.0 * generator.integers(2, size=(MONTE_CARLO_FLIPS, n))
    hits = int(np.sum(np.abs(signs @ known) >= observed - tolerance))
    return (hits + 1) / (MONTE_CARLO_FLIPS + 1)


@lru_cache(maxsize=4)
def _patterns(n: int) -> Floats:
    """Every pattern of n signs, [patterns, n]."""
    bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    return 1.0 - 2.0 * bits.astype(np.float64)


def guarded_p(differences: ArrayLike) -> float | None:
    """The p on which a verdict over replicates rests: the sign-flip test's, or the guard's against skew if larger.

    The guard is below 0.05 where the p of Hall's t (Hall 1992, *JRSS B* 54:221: Student's t turned by the sample's
    skewness) is seven times smaller, or that of Student's t 150 times, on the side of the mean. With both, normal, t3,
    exponential and lognormal differences alike give a verdict in at most 5 of 100 cases without an effect
    (docs/simulation.md). None with fewer than 2 finite differences.
    """
    known = finite(differences)
    p = sign_flip_p(known)
    if p is None or len(known) < 3:
        return p
    deviation = float(known.std(ddof=1))
    if deviation <= 1e-12 * float(np.abs(known).max()):  # all alike: there is no skew to guard against
        return p
    n, ratio = len(known), float(known.mean()) / deviation
    hall = hall_p(ratio, skewness(known), n, n - 1)
    student = two_sided(math.sqrt(n) * ratio, n - 1)
    return max(p, min(1.0, HALL_FACTOR * hall, STUDENT_FACTOR * student))


HALL_FACTOR = 7
"""So many times smaller than the level Hall's p must be, or"""
STUDENT_FACTOR = 150
"""so many times Student's."""


def skewness(values: Floats) -> float:
    """Third moment about the mean, in standard deviations."""
    centred = values - values.mean()
    variance = float(np.mean(centred**2))
    return float(np.mean(centred**3)) / (variance * math.sqrt(variance))


def hall_p(ratio: float, skewed: float, units: float, degrees: float) -> float:
    """Two-sided p of Hall's t: that of a mean of `units` values, `ratio` standard deviations from its null.

    Their skewness `skewed` turns Student's t. 1 where it then points to the other side.
    """
    turned = ratio + skewed * ratio**2 / 3 + skewed**2 * ratio**3 / 27 + skewed / (6 * units)
    return two_sided(math.sqrt(units) * turned, degrees) if turned * ratio > 0 else 1.0


def two_sided(t: float, degrees: float) -> float:
    """Two-sided p of Student's t."""
    return float(2 * special.stdtr(degrees, -abs(t)))


def beyond_p(differences: ArrayLike, margin: float) -> float | None:
    """p of the mean lying beyond `margin` on the side on which it is; 1 where it lies within."""
    known = finite(differences)
    if len(known) < 2:
        return None
    mean = float(known.mean())
    if margin > 0 and abs(mean) <= margin:
        return 1.0
    return guarded_p(known - math.copysign(margin, mean))


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
    """p of the mean lying outside of plus or minus `margin`: the larger of two guarded tests, one at each end.

    Two one-sided t tests (Schuirmann 1987) would err in up to 15 of 100 cases where the differences are skewed. None
    below `MINIMUM_REPLICATES` where they do lie within.
    """
    known = finite(differences)
    if len(known) < 2:
        return None
    if abs(float(known.mean())) >= margin:
        return 1.0
    if len(known) < MINIMUM_REPLICATES:
        return None
    ends = [guarded_p(known - margin), guarded_p(known + margin)]
    return max(p for p in ends if p is not None)


DETECTABLE = {6: 2.80, 7: 2.27, 8: 1.92, 9: 1.67, 10: 1.57, 12: 1.31, 14: 1.16, 20: 0.91, 30: 0.70}
"""Effect, in standard deviations of the differences, that so many replicates find four times in five (normal noise)."""


def detectable(differences: ArrayLike, replicates: int) -> float | None:
    """The difference that `replicates` of the spread of `differences` would find with a power of 80 %, Holm left out.

    None with fewer than 2 finite differences, or fewer than `MINIMUM_REPLICATES`, which find nothing.
    """
    known = finite(differences)
    if len(known) < 2 or replicates < MINIMUM_REPLICATES:
        return None
    counts = sorted(DETECTABLE)
    inside = float(np.interp(replicates, counts, [DETECTABLE[count] for count in counts]))
    beyond = math.sqrt(counts[-1] / replicates) if replicates > counts[-1] else 1.0
    return inside * beyond * float(known.std(ddof=1))


def replicates_needed(comparisons: int = 1) -> int:
    """The fewest replicates with which the sign-flip test can be below 0.05 after Holm over `comparisons`."""
    n = MINIMUM_REPLICATES
    while max(1, comparisons) * 2 / 2**n >= ALPHA:
        n += 1
    return n
