"""How sure is a number? 95 % intervals: t over replicates, and the moving-block bootstrap within a run.

Steps of one run are autocorrelated, so that they are resampled in blocks of consecutive steps (Künsch 1989, *Annals of
Statistics* 17:1217). Everything that is bootstrapped here is a function of totals (a mean, a ratio of totals, a
slope), so that a resample needs the totals of its blocks alone. The interval is the estimate plus and minus Student's
t times the bootstrap's standard error, with as many degrees of freedom as there are blocks less the strata: with few
blocks it keeps its coverage far better than percentiles do. Continuations are blocks of length 1.

Draws come from a counter-based generator seeded by the data: the same data, the same interval.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from frostline.stats.estimate import Estimate

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""A statistic: from totals [draws, columns] to values [draws]."""

DRAWS = 2000
MINIMUM_BLOCKS = 6
"""Fewer blocks than this say too little about their own spread: no interval is given."""
LEVEL = 0.95
OVER_REPLICATES = "t over replicates"
OVER_BLOCKS = "moving-block bootstrap over steps"
OVER_CONTINUATIONS = "bootstrap over continuations"


def t_interval(values: ArrayLike, unit: str) -> Estimate:
    """Mean of `values` (one a replicate) with its t interval; one replicate has no interval, none has no value.

    Values that are not finite are left out.
    """
    known = finite(values)
    n = len(known)
    if n == 0:
        return nothing(unit)
    mean = float(known.mean())
    if n == 1:
        return Estimate(mean, None, None, 1, unit, "one replicate: no interval")
    if np.ptp(known) == 0:
        return Estimate(float(known[0]), float(known[0]), float(known[0]), n, unit, OVER_REPLICATES)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, n - 1) * known.std(ddof=1) / math.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n, unit, OVER_REPLICATES)


def nothing(unit: str) -> Estimate:
    """The estimate of something that this run did not measure."""
    return Estimate(None, None, None, 0, unit, "not measured")


def finite(values: ArrayLike) -> Floats:
    """The finite ones of `values`, as an array."""
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    return array[np.isfinite(array)]


def autocorrelation(series: Sequence[ArrayLike]) -> float:
    """First-order autocorrelation of the series about their own means, pooled; 0 where nothing varies."""
    above = below = 0.0
    for one in series:
        values = np.asarray(one, dtype=np.float64)
        centred = values - values.mean() if len(values) else values
        above += float(centred[1:] @ centred[:-1])
        below += float(centred @ centred)
    return above / below if below > 0 else 0.0


def block_length(series: Sequence[ArrayLike]) -> int:
    """Steps of a block: `max(2, (6 phi^2 / (1 - phi^2)^2)^(1/3) n^(1/3))`, never more than a sixth of the n steps.

    That is the length with the least error of the bootstrapped variance of a mean, for an AR(1) series with
    autocorrelation phi (Künsch 1989), with a floor of `n^(1/3)` since phi is estimated; the estimate is corrected for
    its bias in short series (Kendall 1954, *Biometrika* 41:403).
    """
    n = min((len(np.asarray(one)) for one in series), default=0)
    phi = autocorrelation(series)
    phi = min(max((n * phi + 1) / (n - 3), 0.0), 0.9) if n > 3 and phi > 0 else 0.0
    factor: float = max(1.0, (6 * phi**2 / (1 - phi**2) ** 2) ** (1 / 3))
    wanted: int = math.ceil(factor * float(n) ** (1 / 3))
    return max(2, min(wanted, n // MINIMUM_BLOCKS))


@dataclass(frozen=True)
class Bootstrap:
    """Resamples of a statistic, with what an interval needs."""

    value: float
    draws: Floats
    """The statistic of each resample, [draws]."""
    blocks: int
    strata: int

    @property
    def degrees(self) -> int:
        """Blocks less strata."""
        return self.blocks - self.strata

    @property
    def enough(self) -> bool:
        """Whether there are blocks enough to say how sure the value is."""
        return self.blocks >= MINIMUM_BLOCKS and self.degrees >= 2

    @property
    def error(self) -> float:
        """Standard error. The factor makes up for centring each stratum on its own mean."""
        if np.ptp(self.draws) == 0:  # the rounded deviation of equal numbers need not be 0
            return 0.0
        return float(self.draws.std(ddof=1) * math.sqrt(self.blocks / max(1, self.degrees)))

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Lower and upper end."""
        half = float(stats.t.ppf(0.5 + level / 2, self.degrees) * self.error)
        return self.value - half, self.value + half

    def p_value(self, null: float = 0.0) -> float | None:
        """Two-sided, of the value being `null`, by t; None without blocks enough.

        Never smaller than 2^(1 - blocks), what blocks that all agree would reach by tossing coins.
        """
        if not self.enough or not math.isfinite(self.error):
            return None
        if self.value == null:
            return 1.0
        coins = 2.0 ** (1 - self.blocks)
        if self.error == 0:
            return coins
        return max(coins, float(2 * stats.t.sf(abs(self.value - null) / self.error, self.degrees)))

    def estimate(self, unit: str, method: str, bounds: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:
        """As an estimate; `bounds` are what the quantity cannot pass."""
        if not math.isfinite(self.value):
            return nothing(unit)
        if not self.enough or not math.isfinite(self.error):
            return Estimate(self.value, None, None, self.blocks, unit, f"{method}: too few for an interval")
        low, high = self.interval()
        return Estimate(self.value, max(low, bounds[0]), min(high, bounds[1]), self.blocks, unit, method)


def bootstrap(
    strata: Sequence[ArrayLike], statistic: Statistic, *, length: int | None = None, circular: bool = False
) -> Bootstrap:
    """Resample blocks of rows within each of `strata` ([rows, columns], rows in order), and sum up the columns.

    `statistic` gets the totals over all strata. `length` is the rows of a block: 1 for independent rows, None for
    `block_length` of the first column. `circular` lets blocks run on from the last row to the first, so that rows at
    both ends are drawn as often as others.
    """
    tables = [_table(one) for one in strata if len(np.asarray(one))]
    if not tables:
        return Bootstrap(math.nan, np.full(2, math.nan), 0, 0)
    rows = length if length is not None else block_length([table[:, 0] for table in tables])
    value = float(statistic(np.sum([table.sum(axis=0) for table in tables], axis=0)[None, :])[0])
    generator = generator_for(tables)
    totals = np.zeros((DRAWS, tables[0].shape[1]))
    blocks = 0
    for table in tables:
        width = min(rows, len(table))
        count = math.ceil(len(table) / width)
        rows_in_turn = np.vstack([table, table[: width - 1]]) if circular else table
        sums = np.cumsum(np.vstack([np.zeros(table.shape[1]), rows_in_turn]), axis=0)
        of_blocks = sums[width:] - sums[:-width]
        chosen = generator.integers(len(of_blocks), size=(DRAWS, count))
        # Scaled to the stratum's own number of rows.
        totals += of_blocks[chosen].sum(axis=1) * (len(table) / (count * width))
        blocks += count
    return Bootstrap(value, statistic(totals), blocks, len(tables))


def bootstrap_mean(series: Sequence[ArrayLike]) -> Bootstrap:
    """Mean over the steps of all `series` ([steps] each), resampled in blocks; constant series keep it exactly."""
    columns = [
        np.column_stack([values, np.ones(len(values))])
        for values in (np.asarray(one, dtype=np.float64) for one in series)
    ]
    found = bootstrap(columns, ratio)
    values = np.concatenate([np.asarray(one, dtype=np.float64) for one in series]) if series else np.empty(0)
    if len(values) and np.ptp(values) == 0:  # sums of equal numbers need not be exact
        return Bootstrap(float(values[0]), np.full(DRAWS, values[0]), found.blocks, found.strata)
    return found


def bootstrap_slope(series: Sequence[ArrayLike]) -> Bootstrap:
    """Mean over `series` of the least-squares slope over steps, per step.

    A slope is the total of each step's weight times its residual: blocks of these products are resampled (Fitzenberger
    1998, *Journal of Econometrics* 82:235), residuals scaled up for the two parameters that were fitted to them.
    """
    kept = [values for values in (np.asarray(one, dtype=np.float64) for one in series) if len(values) >= 4]
    if not kept:
        return Bootstrap(math.nan, np.full(2, math.nan), 0, 0)
    slopes = [slope(values) for values in kept]
    residuals, products = [], []
    for values, found in zip(kept, slopes, strict=True):
        n = len(values)
        place = np.arange(n) - (n - 1) / 2
        residuals.append(values - values.mean() - found * place)
        products.append(place / (place @ place) * residuals[-1] * math.sqrt(n / (n - 2)) / len(kept))
    found_blocks = bootstrap(products, lambda totals: totals[:, 0], length=block_length(residuals), circular=True)
    value = float(np.mean(slopes))
    return Bootstrap(value, value + found_blocks.draws - found_blocks.value, found_blocks.blocks, found_blocks.strata)


def slope(values: ArrayLike) -> float:
    """Least-squares slope of `values` over their position; NaN for fewer than two."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return math.nan
    place = np.arange(len(array)) - (len(array) - 1) / 2
    return float(place @ array / (place @ place))


def ratio(totals: Floats) -> Floats:
    """First total over second; NaN where the second is 0."""
    below = np.where(totals[:, 1] == 0, np.nan, totals[:, 1])
    result: Floats = totals[:, 0] / below
    return result


def generator_for(tables: Sequence[Floats]) -> np.random.Generator:
    """A Philox generator whose key is a hash of the data."""
    digest = hashlib.sha256()
    for table in tables:
        digest.update(np.ascontiguousarray(table).tobytes())
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest.digest()[:16], "little")))


def _table(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    return array[:, None] if array.ndim == 1 else array
