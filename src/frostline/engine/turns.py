"""Whose turn is it, and why can an arm not go on? What every loop over arms asks: training, timing, a race."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch

from frostline.errors import FrostlineError
from frostline.text import without_home

AnyArm = TypeVar("AnyArm")


def turn_order(arms: Sequence[AnyArm], step: int) -> list[AnyArm]:
    """The arms in the order of this step: as given at even steps, reversed at odd ones."""
    return list(arms) if step % 2 == 0 else list(reversed(arms))


def cause_of(error: Exception) -> str:
    """Why an arm cannot go on, in a line that may be kept; see `without_home`."""
    if isinstance(error, FrostlineError):
        return without_home(str(error))
    first = without_home((str(error).splitlines() or [""])[0])
    if is_out_of_memory(error):
        return f"out of memory: {first}"
    return f"{type(error).__name__}: {first}"


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, as Python, CUDA's allocator or the CPU's (a plain `RuntimeError`) tell it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
