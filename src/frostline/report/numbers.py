"""How does a number stand on a page or in a table? With a true minus, on one line with its unit; a dash for none."""

from __future__ import annotations

import math
from collections.abc import Callable

from frostline import readable
from frostline.stats import Estimate

MISSING = "–"
SPACE = "\N{NO-BREAK SPACE}"
"""Between a number and its unit, so that they stay on one line."""


def number(value: float | None) -> str:
    """`value` to three significant digits."""
    return _set(value, readable.number)


def share(value: float | None) -> str:
    """A fraction in percent."""
    return _set(value, lambda known: readable.percent(known, 2 if 0 < abs(known) < 0.001 else 1))


def seconds(value: float | None) -> str:
    """A duration in the unit that suits it."""
    return _set(value, readable.seconds)


def size(value: float | None) -> str:
    """Bytes in powers of 1000."""
    return _set(value, readable.size)


def count(value: float | None) -> str:
    """A large count: 134.5 M, 12,345."""
    return _set(value, readable.count)


def loss(value: float | None) -> str:
    """A loss in nats, three decimals."""
    return _set(value, readable.loss)


def in_unit(value: float | None, unit: str) -> str:
    """`value` as its unit is usually written."""
    if unit == "share":
        return share(value)
    if unit == "seconds":
        return seconds(value)
    if unit == "bytes":
        return size(value)
    suffix = f" {unit}" if unit and value is not None and math.isfinite(value) else ""
    return f"{number(value)}{suffix}"


def interval(estimate: Estimate | None) -> str:
    """The 95 % interval in brackets, or '' where there is none."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return ""
    if estimate.unit not in ("share", "seconds"):
        return f"[{number(estimate.low)}, {number(estimate.high)}]"
    low, high = in_unit(estimate.low, estimate.unit), in_unit(estimate.high, estimate.unit)
    (below, unit), (above, other) = low.split(SPACE), high.split(SPACE)
    return f"[{below}, {above}]{SPACE}{unit}" if unit == other else f"[{low}, {high}]"


def estimate(found: Estimate | None) -> str:
    """Value and interval of an estimate on one line."""
    if found is None:
        return MISSING
    return f"{in_unit(found.value, found.unit)} {interval(found)}".strip()


def bare(found: Estimate | None) -> str:
    """Value and interval without the unit."""
    return MISSING if found is None else f"{number(found.value)} {interval(found)}".strip()


def p_value(value: float | None) -> str:
    """A p-value to two digits, never 0."""
    return MISSING if value is None or not math.isfinite(value) else readable.p_value(value)


def _set(value: float | None, written: Callable[[float], str]) -> str:
    if value is None or not math.isfinite(value):
        return MISSING
    return written(value).replace("-", "−").replace(" ", SPACE)
