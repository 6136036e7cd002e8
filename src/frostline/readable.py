"""How is a number written for a reader? Few digits, and the unit that suits it.

Three ways to choose digits: `number` for tables, `significant` where a value stands beside its interval and both are
written alike, `roughly` where a sentence says how much it is about. All here is plain text; `report/numbers.py` sets it
for a page.
"""

from __future__ import annotations

import math
from collections.abc import Callable

UNKNOWN = "unknown"
_SIZES = ("B", "kB", "MB", "GB", "TB")


def number(value: float, digits: int = 3) -> str:
    """`value` to `digits` significant digits, a whole number without decimals: 12.3, 0.00123, 1,234, 3.00e-07."""
    if value == 0:
        return "0"
    if abs(value) >= 10**digits or float(value).is_integer():
        return f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.{digits - 1}e}"
    return significant(value, digits) if abs(value) >= 1e-3 else f"{value:.{digits - 1}e}"


def significant(value: float | None, digits: int = 3) -> str:
    """`value` to `digits` significant digits, zeros at its end included: 3.00, 0.000123, 1,234."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e6:
        return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
    return f"{value:.{digits - 1}e}"


def roughly(value: float) -> str:
    """Two significant digits below 10, whole numbers above; never an exponent, never a trailing zero."""
    if value <= 0 or not math.isfinite(value):
        return f"{value:.0f}"
    decimals = min(6, max(0, 1 - math.floor(math.log10(value)))) if value < 10 else 0
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def count(value: float) -> str:
    """A large count: 134.5 M, 12,345."""
    for factor, letter in ((1e9, "G"), (1e6, "M")):
        if abs(value) >= factor:
            return f"{value / factor:.1f} {letter}"
    return f"{value:,.0f}"


def plural(amount: int, noun: str) -> str:
    """`3 replicates`, `1 replicate`."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def decimal(value: float, decimals: int = 1) -> str:
    """`value` with so many decimals, and no sign before a zero that has none."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def learning_rate(value: float) -> str:
    """`value` as learning rates are written, to three significant digits at most: 2e-4, 1.75e-3, 0.016."""
    if value >= 0.01:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def percent(value: float | None, decimals: int = 1) -> str:
    """A share in percent."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{decimal(100 * value, decimals)} %"


def points(value: float | None) -> str:
    """A difference of shares in percentage points."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{decimal(100 * value)} points"


def loss(value: float | None) -> str:
    """A loss in nats, three decimals."""
    return UNKNOWN if value is None or not math.isfinite(value) else decimal(value, 3)


def p_value(value: float) -> str:
    """A p-value to two or three decimals, never 0."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def size(value: float, written: Callable[[float], str] = number) -> str:
    """Bytes in powers of 1000: `590 kB`, `1.25 GB`."""
    power = 0
    while abs(value) >= 999.5 and power < len(_SIZES) - 1:
        value, power = value / 1000, power + 1
    return f"{written(value) if power else f'{value:.0f}'} {_SIZES[power]}"


def rough_size(value: float) -> str:
    """Bytes in powers of 1000, about: `590 kB`, `1.2 GB`."""
    return size(value, roughly)


def gigabytes(value: float) -> str:
    """Bytes where several are compared: `1.25 GB`, `236 MB`."""
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def seconds(value: float) -> str:
    """A duration that was measured: `0.39 ms`, `62 ms`, `1.54 s`, `12.0 min`, `2.5 h`."""
    if abs(value) < 1:
        return f"{1000 * value:.0f} ms" if abs(value) >= 0.01 else f"{1000 * value:.2f} ms"
    if abs(value) < 120:
        return f"{number(value)} s"
    return f"{value / 60:.1f} min" if abs(value) < 7200 else f"{value / 3600:.1f} h"


def rough_seconds(value: float) -> str:
    """A duration, about: `0.4 ms`, `62 ms`, `1.5 s`, `12 min`."""
    if value < 0.9995:
        return f"{roughly(1000 * value)} ms"
    return f"{roughly(value)} s" if value < 120 else f"{roughly(value / 60)} min"


def duration(value: float) -> str:
    """How long someone has to wait: `40 s`, `12 min`, `2 h 05 min`."""
    if value < 90:
        return f"{value:.0f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
