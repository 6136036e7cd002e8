"""What can a series of steps say alone, without other replicates? Its mean and its slope, as far as it is long enough.

Neighbouring steps are alike, so that n steps are worth fewer: with a first-order autocorrelation phi, n (1 - phi) /
(1 + phi). A short series cannot tell its own phi, and a test that trusts the estimate errs in up to half of all cases.
So phi is estimated over all series, corrected for its bias (Kendall 1954, *Biometrika* 41:403), and taken one standard
error too high; and below `FEWEST_UNITS` independent steps nothing is decided at all. docs/simulation.md has the rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from frostline.stats.estimate import Estimate
from frostline.stats.intervals import LEVEL, Floats, autocorrelation, finite, slope
from frostline.stats.significance import hall_t, two_sided

FEWEST_UNITS = 10.0
"""Independent steps, over all series, below which no test is made."""
FEWEST_STEPS = 8
LARGEST_PHI = 0.97
OVER_STEPS = "t over steps, fewer for their autocorrelation"


@dataclass(frozen=True)
class SeriesTest:
    """A number from one or several series, with its standard error and the independent steps behind it."""

    value: float
    error: float
    units: float
    series: int
    skewed_t: float = math.nan
    """Hall's t of the value, where skew could matter; NaN where not."""

    @property
    def enough(self) -> bool:
        """Whether there are steps enough to test anything."""
        return math.isfinite(self.error) and self.units >= FEWEST_UNITS

    @property
    def degrees(self) -> float:
        """Degrees of freedom."""
        return max(1.0, self.units - self.series)

    def p_value(self, null: float = 0.0) -> float | None:
        """Two-sided p of the value being `null`; None where there are too few independent steps."""
        if not self.enough:
            return None
        if self.error == 0:
            return 1.0 if self.value == null else 2.0 ** (1 - self.units)
        p = two_sided((self.value - null) / self.error, self.degrees)
        if math.isfinite(self.skewed_t):
            p = max(p, two_sided(self.skewed_t, self.degrees))
        return p

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Lower and upper end."""
        half = float(special.stdtrit(self.degrees, 0.5 + level / 2)) * self.error
        return self.value - half, self.value + half

    def estimate(self, unit: str, bounds: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:
        """As an estimate; `bounds` are what the quantity cannot pass."""
        method = f"{OVER_STEPS}, in these runs"
        if not math.isfinite(self.value):
            return Estimate(None, None, None, 0, unit, "not measured")
        if not self.enough:
            return Estimate(self.value, None, None, int(self.units), unit, f"{method}: too few for an interval")
        low, high = self.interval()
        return Estimate(self.value, max(low, bounds[0]), min(high, bounds[1]), int(self.units), unit, method)


NOTHING = SeriesTest(math.nan, math.nan, 0.0, 0)


def cautious_phi(series: Sequence[Floats]) -> float:
    """Autocorrelation of `series` about their own means, one standard error above its estimate, 0 to `LARGEST_PHI`."""
    n = min(len(one) for one in series)
    phi = (n * autocorrelation(series) + 1) / max(1, n - 3)
    error = math.sqrt(max(0.0, 1 - phi**2) / (n * len(series)))
    return min(max(phi + error, 0.0), LARGEST_PHI)


def independent_steps(series: Sequence[Floats]) -> float:
    """How many independent steps the steps of all `series` are worth."""
    phi = cautious_phi(series)
    return sum(len(one) for one in series) * (1 - phi) / (1 + phi)


def mean_test(series: Sequence[ArrayLike], null: float = 0.0) -> SeriesTest:
    """The mean over all steps of all `series` ([steps] each), tested against `null`."""
    kept = _kept(series)
    if not kept:
        return NOTHING
    values = np.concatenate(kept)
    mean = float(values[0]) if np.ptp(values) == 0 else float(values.mean())
    units = independent_steps(kept)
    squares = sum(float(np.sum((one - one.mean()) ** 2)) for one in kept)
    # Steps that are alike show too little of their own spread.
    spread = squares / max(1.0, len(values) - len(kept) * len(values) / units)
    error = math.sqrt(spread / units) if units > len(kept) else math.nan
    if error == 0:
        return SeriesTest(mean, 0.0, units, len(kept))
    return SeriesTest(mean, error, units, len(kept), hall_t(values - null, units) if values.std() > 0 else math.nan)


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
