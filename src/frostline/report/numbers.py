"""How is a number written for a reader? Few digits, a unit, and its interval; 'not measured' where there is none."""

from __future__ import annotations

import math

from frostline.stats import Estimate

MISSING = "–"
SPACE = "\N{NO-BREAK SPACE}"
"""Between a number and its unit, so that they stay on one line."""
_BYTES = ("B", "kB", "MB", "GB", "TB")


def number(value: float | None, digits: int = 3) -> str:
    """`value` to `digits` significant digits, with a true minus sign; a dash for None and NaN."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 10**digits or float(value).is_integer():
        text = f"{value:,.0f}" if size < 1e6 else f"{value:.{digits - 1}e}"
    elif size >= 1e-3:
        text = f"{value:.{max(0, digits - 1 - math.floor(math.log10(size)))}f}"
    else:
        text = f"{value:.{digits - 1}e}"
    return text.replace("-", "−")


def share(value: float | None) -> str:
    """A fraction in percent."""
    if value is None or not math.isfinite(value):
        return MISSING
    percent = 100 * value
    return f"{percent:.{2 if 0 < abs(percent) < 0.1 else 1}f}{SPACE}%".replace("-", "−")


def seconds(value: float | None) -> str:
    """A duration in the unit that suits it."""
    if value is None or not math.isfinite(value):
        return MISSING
    if abs(value) < 1:
        return f"{1000 * value:.0f}{SPACE}ms" if abs(value) >= 0.01 else f"{1000 * value:.2f}{SPACE}ms"
    if abs(value) < 120:
        return f"{number(value)}{SPACE}s"
    return f"{value / 60:.1f}{SPACE}min" if abs(value) < 7200 else f"{value / 3600:.1f}{SPACE}h"


def size(value: float | None) -> str:
    """Bytes in powers of 1000."""
    if value is None or not math.isfinite(value):
        return MISSING
    power = 0
    while abs(value) >= 1000 and power < len(_BYTES) - 1:
        value, power = value / 1000, power + 1
    return f"{number(value)}{SPACE}{_BYTES[power]}" if power else f"{value:.0f}{SPACE}B"


def count(value: float | None) -> str:
    """A large count: 134.5 M, 12,345."""
    if value is None or not math.isfinite(value):
        return MISSING
    for factor, letter in ((1e9, "G"), (1e6, "M")):
        if abs(value) >= factor:
            return f"{value / factor:.1f}{SPACE}{letter}"
    return f"{value:,.0f}"


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


def p_value(value: float | None) -> str:
    """A p-value to two digits, never 0."""
    if value is None or not math.isfinite(value):
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
