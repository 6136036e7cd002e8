"""How long does a step take, and which part of it? A clock that waits for the device before it is read."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import torch

from frostline.engine.precision import synchronize

PhaseName = Literal["prefix", "forward", "backward", "optimizer"]


@dataclass(frozen=True)
class PhaseSeconds:
    """Where the seconds of one step went."""

    prefix: float
    """Fetching or computing the output of the frozen layers at the bottom; 0 where they are part of the forward."""
    forward: float
    """The rest of the forward pass, head and loss included (with the gradient of the logits, where it is fused)."""
    backward: float
    optimizer: float
    """Clipping and the update."""


class StepClock:
    """Starts when it is made. Reading it waits for the device, so that no work is booked on the next phase."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._phases: dict[PhaseName, float] = {"prefix": 0.0, "forward": 0.0, "backward": 0.0, "optimizer": 0.0}
        synchronize(device)
        self._last = time.perf_counter()

    def ends(self, phase: PhaseName) -> None:
        """Book the time since the last reading on `phase`."""
        synchronize(self.device)
        now = time.perf_counter()
        self._phases[phase] += now - self._last
        self._last = now

    @property
    def seconds(self) -> float:
        """All time booked so far."""
        return sum(self._phases.values())

    def phases(self) -> PhaseSeconds:
        """What was booked on each phase."""
        return PhaseSeconds(**self._phases)
