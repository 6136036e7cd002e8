"""Whose turn is it, and why can an arm not go on? What every loop over arms asks: training, timing, a race."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from frostline.errors import FrostlineError
from frostline.out_of_memory import is_out_of_memory, want_of_memory
from frostline.text import without_home

AnyArm = TypeVar("AnyArm")


def turn_order(arms: Sequence[AnyArm], step: int) -> list[AnyArm]:
    """The arms in the order of this step: as given at even steps, reversed at odd ones."""
    return list(arms) if step % 2 == 0 else list(reversed(arms))


def cause_of(error: Exception) -> str:
    """Why an arm cannot go on, in a line that may be kept; see `without_home`."""
    if isinstance(error, FrostlineError):
        return without_home(str(error))
    if is_out_of_memory(error):
        return want_of_memory(error)
    first = without_home((str(error).splitlines() or [""])[0])
    return f"{type(error).__name__}: {first}"
