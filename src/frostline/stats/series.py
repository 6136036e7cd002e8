"""What can a series of steps say alone, without other replicates? Its mean and its slope, as far as it is long enough.

Neighbouring steps are alike, so that n steps are worth fewer: with a first-order autocorrelation phi, n (1 - phi) /
(1 + phi). A short series cannot tell its own phi, and a test that trusts the estimate errs in up to half of all cases.
So phi is estimated over all series, corrected for its bias (Kendall 1954, *Biometrika* 41:403), and taken one standard
error too high. Below `FEWEST_UNITS` independent steps that is not caution enough: there a mean is tested as if phi were
at the upper end of its 95 % interval, with the degrees of freedom that the most sluggish series has. Only what is large
against all noise is decided then, such as half of the time saved. docs/simulation.md has the rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from frostline.stats.estimate import Estimate
from frostline.stats.intervals import LEVEL, Floats, autocorrelation, finite, slope
from frostline.stats.significance import hall_p, skewness, two_sided

FEWEST_UNITS = 10.0
"""Independent steps, over all series, below which phi is taken at its upper limit."""
FEWEST_STEPS = 8
LARGEST_PHI = 0.97
LIMIT_ERRORS = 2.0
"""Standard errors of phi from its estimate to its upper limit."""
DEGREES_AT_LIMIT = 2
"""Degrees of freedom of the spread of one series where neighbours are as alike as can be (of a random walk: 2.5)."""
OVER_STEPS = "t over steps, fewer for their autocorrelation"
AT_LIMIT = "t over steps, their autocorrelation at its upper limit"


@dataclass(frozen=True)
class SeriesTest:
    """A number from one or several series, with its standard error and the independent steps behind it."""

    value: float
    error: float
    units: float
    series: int
    skewness: float = math.nan
    """Skewness of the steps, where it could matter; NaN where not."""
    error_at_limit: float = math.nan
    """Standard error with phi at its upper limit, where there are too few independent steps; NaN where not used."""

    @property
    def enough(self) -> bool:
        """Whether there are independent steps enough to trust what they say of phi."""
        return math.isfinite(self.error) and self.units >= FEWEST_UNITS

    @property
    def speaks(self) -> bool:
        """Whether anything can be said: there are steps enough, or their spread at phi's upper limit is known."""
        return self.enough or self.error_at_limit > 0

    @property
    def degrees(self) -> float:
        """Degrees of freedom."""
        return max(1.0, self.units - self.series) if self.enough else DEGREES_AT_LIMIT * self.series

    def p_value(self, null: float = 0.0) -> float | None:
        """Two-sided p of the value being `null`; None where nothing can be said."""
        if not self.speaks:
            return None
        away = self.value - null
        if not self.enough:
            return two_sided(away / self.error_at_limit, self.degrees)
        if self.error == 0:
            return 1.0 if away == 0 else 2.0 ** (1 - self.units)
        p = two_sided(away / self.error, self.degrees)
        if math.isfinite(self.skewness):
            p = max(p, hall_p(away / self.error / math.sqrt(self.units), self.skewness, self.units, self.degrees))
        return p

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Lower and upper end."""
        error = self.error if self.enough else self.error_at_limit
        half = float(special.stdtrit(self.degrees, 0.5 + level / 2)) * error
        return self.value - half, self.value + half

    def estimate(self, unit: str, bounds: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:
        """As an estimate; `bounds` are what the quantity cannot pass."""
        method = f"{OVER_STEPS}, in these runs"
        if not math.isfinite(self.value):
            return Estimate(None, None, None, 0, unit, "not measured")
        if not self.speaks:
            return Estimate(self.value, None, None, int(self.units), unit, f"{method}: too few for an interval")
        if not self.enough:
            method = f"{AT_LIMIT}, in these runs"
        low, high = self.interval()
        return Estimate(self.value, max(low, bounds[0]), min(high, bounds[1]), int(self.units), unit, method)


NOTHING = SeriesTest(math.nan, math.nan, 0.0, 0)


def phi_of(series: Sequence[Floats]) -> tuple[float, float]:
    """Autocorrelation of `series` about their own means, corrected for its bias, and its standard error."""
    n = min(len(one) for one in series)
    phi = (n * autocorrelation(series) + 1) / max(1, n - 3)
    return phi, math.sqrt(max(0.0, 1 - phi**2) / (n * len(series)))


def independent_steps(series: Sequence[Floats], phi: tuple[float, float] | None = None) -> float:
    """How many independent steps the steps of all `series` are worth, phi one standard error above its estimate."""
    estimate, error = phi or phi_of(series)
    cautious = min(max(estimate + error, 0.0), LARGEST_PHI)
    return sum(len(one) for one in series) * (1 - cautious) / (1 + cautious)


def error_at_limit(series: Sequence[Floats], phi: tuple[float, float]) -> float:
    """Standard error of the mean over all `series`, with phi at its upper limit, by the spread within them.

    Of an AR(1) series of n steps with variance 1 the mean has the variance v = sum of (n - |j|) phi^|j| over n^2, and
    the steps about it have 1 - v.
    """
    limit = min(max(phi[0] + LIMIT_ERRORS * phi[1], 0.0), LARGEST_PHI)
    steps = min(len(one) for one in series)
    lags = np.arange(1, steps)
    of_mean = float(steps + 2 * ((steps - lags) * limit**lags).sum()) / steps**2
    within = sum(float(np.sum((one - one.mean()) ** 2)) for one in series) / sum(len(one) for one in series)
    return math.sqrt(of_mean / (1 - of_mean) * within / len(series))


def mean_test(series: Sequence[ArrayLike]) -> SeriesTest:
    """The mean over all steps of all `series` ([steps] each)."""
    kept = _kept(series)
    if not kept:
        return NOTHING
    values = np.concatenate(kept)
    mean = float(values[0]) if np.ptp(values) == 0 else float(values.mean())
    phi = phi_of(kept)
    units = independent_steps(kept, phi)
    squares = sum(float(np.sum((one - one.mean()) ** 2)) for one in kept)
    # Steps that are alike show too little of their own spread.
    spread = squares / max(1.0, len(values) - len(kept) * len(values) / units)
    error = math.sqrt(spread / units) if units > len(kept) else math.nan
    skewed = skewness(values) if error > 0 and values.std() > 0 else math.nan
    found = SeriesTest(mean, error, units, len(kept), skewed)
    return found if found.enough else replace(found, error_at_limit=error_at_limit(kept, phi))


def slope_test(series: Sequence[ArrayLike]) -> SeriesTest:
    """Mean over `series` of the least-squares slope over steps, per step."""
    kept = _kept(series)
    if not kept:
        return NOTHING
    slopes = [slope(one) for one in kept]
    places = [np.arange(len(one)) - (len(one) - 1) / 2 for one in kept]
    residuals = [one - one.mean() - own * place for one, own, place in zip(kept, slopes, places, strict=True)]
    units = independent_steps(residuals)
    share = units / sum(len(one) for one in kept)
    variances = []
    for place, rest in zip(places, residuals, strict=True):
        spread = float(rest @ rest) / max(1.0, len(rest) - 2 / share)
        variances.append(spread / share / float(place @ place))
    error = math.sqrt(sum(variances)) / len(kept)
    return SeriesTest(float(np.mean(slopes)), error, units - len(kept), len(kept))


def without_pauses(values: Floats, spreads: float = 5.0) -> Floats:
    """`values` without those more than so many robust standard deviations from the median."""
    if not len(values):
        return values
    away = np.abs(values - np.median(values))
    spread = 1.4826 * float(np.median(away))
    return values[away <= spreads * spread] if spread > 0 else values


def _kept(series: Sequence[ArrayLike]) -> list[Floats]:
    found = [finite(one) for one in series]
    return [one for one in found if len(one) >= FEWEST_STEPS]
