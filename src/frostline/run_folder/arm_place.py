"""What is a record about? One arm of one replicate of one variant, which stands first in all that is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class ArmPlace(NamedTuple):
    """One arm of one replicate of one variant."""

    variant: str
    seed: int
    arm: str
    """Name of the arm; '' is the untouched model."""


@dataclass(frozen=True)
class ArmRecord:
    """What all records about an `ArmPlace` begin with."""

    variant: str
    seed: int
    arm: str
    """Name of the arm; '' is the untouched model."""
