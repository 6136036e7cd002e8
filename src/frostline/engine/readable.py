"""How does the engine write a size or a duration in a sentence? Two or three digits and the unit that suits it."""

from __future__ import annotations

import math

_SIZES = ("B", "kB", "MB", "GB", "TB")


def readable_bytes(size: int | float) -> str:
    """Bytes in powers of 1000: `590 kB`, `1.2 GB`."""
    power = 0
    while size >= 999.5 and power < len(_SIZES) - 1:
        size, power = size / 1000, power + 1
    return f"{_few_digits(size) if power else f'{size:.0f}'} {_SIZES[power]}"


def readable_seconds(seconds: float) -> str:
    """A duration: `0.4 ms`, `62 ms`, `1.5 s`, `12 min`."""
    if seconds < 0.9995:
        return f"{_few_digits(1000 * seconds)} ms"
    if seconds < 120:
        return f"{_few_digits(seconds)} s"
    return f"{_few_digits(seconds / 60)} min"


def _few_digits(value: float) -> str:
    """Two significant digits below 10, whole numbers above; never an exponent, never a trailing zero."""
    if value <= 0 or not math.isfinite(value):
        return f"{value:.0f}"
    decimals = min(6, max(0, 1 - math.floor(math.log10(value))))
    text = f"{value:.{decimals if value < 10 else 0}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
