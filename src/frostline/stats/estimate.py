"""What is known of a number? Its estimate, the interval around it, and what stands behind both."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A number with its interval and the count behind it."""

    value: float | None
    """The estimate; None where it was not measured."""
    low: float | None
    """Lower end of the 95 % interval; None where n does not allow one."""
    high: float | None
    """Upper end."""
    n: int
    """Independent units behind the interval: replicates, or blocks of steps, or continuations."""
    unit: str
    """`nats`, `seconds`, `share`, `bytes`, ..."""
    method: str
    """How the interval was made, e.g. `t over replicates`, `moving-block bootstrap over steps`."""


NOT_MEASURED = Estimate(None, None, None, 0, "", "not measured")
"""What stands in a summary of an earlier Frostline that did not measure it."""


def known(value: float) -> float | None:
    """`value`, or None where it is not finite, as JSON has no such number."""
    return value if math.isfinite(value) else None
