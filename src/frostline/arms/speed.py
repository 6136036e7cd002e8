"""Is the device made use of? Tokens a second, and the share of its peak that goes into needed products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from frostline.arms.prepared import PlannedArm, Prepared, tokens_of_a_step
from frostline.engine import measured_peak
from frostline.out_of_memory import MEMORY_ERRORS, is_out_of_memory
from frostline.plans import PlanCost
from frostline.readable import percent

LOW_SHARE = 0.3
"""Share of the peak below which a GPU is waiting for something."""
DEVICES = {"cuda"}
"""Types of devices of which it is said after training; a CPU's share is in `frostline time`."""
SIZE = 4096
"""Rows and columns of the matrices by which the peak is measured beside arms in training."""


@dataclass(frozen=True)
class Speed:
    """Of one arm's steps."""

    tokens_per_second: float
    share_of_peak: float
    """NaN where the peak could not be measured for want of memory."""

    @property
    def sentence(self) -> str:
        """For people, with what may be done where the share is low."""
        told = f"{self.tokens_per_second:,.0f} tokens a second"
        if math.isnan(self.share_of_peak):
            return f"{told}."
        told += f", {percent(self.share_of_peak, 0)} of this device's measured peak"
        return f"{told}: {low_share_advice()}" if self.share_of_peak < LOW_SHARE else f"{told}."


def low_share_advice() -> str:
    """What raises the share of the peak."""
    return "it mostly waits. A larger training.batch (less training.accumulation), or longer windows, would use it."


def needed_flops(cost: PlanCost, *, stores_prefix: bool) -> float:
    """Operations of a step on windows seen before; a stored prefix needs none."""
    return (1 - cost.ceiling_cached) * cost.full_step_flops if stores_prefix else cost.step_flops


def speed_of(prepared: Prepared, planned: PlannedArm, seconds: Sequence[float], *, stores_prefix: bool) -> Speed | None:
    """The speed of steps that took `seconds`; None without any, and on devices of which it is not said."""
    if prepared.device.type not in DEVICES or not seconds:
        return None
    usual = median(seconds)
    try:
        peak = prepared.world.size * measured_peak(prepared.device, prepared.precision, size=SIZE)
    except MEMORY_ERRORS as error:
        if not is_out_of_memory(error):
            raise
        peak = math.nan
    needed = needed_flops(planned.cost, stores_prefix=stores_prefix)
    return Speed(tokens_of_a_step(prepared.recipe) / usual, needed / usual / peak)
