"""How long does a step take, and which part of it? A clock that waits for the device when it is read."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import torch

PhaseName = Literal["prefix", "forward", "backward", "exchange", "optimizer"]


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
    exchange: float = 0.0
    """Waiting for other processes, and adding up gradients with them; 0 where one computes alone."""

    @property
    def total(self) -> float:
        """All of them."""
        return self.prefix + self.forward + self.backward + self.exchange + self.optimizer


@runtime_checkable
class _Mark(Protocol):
    """What of `torch.cuda.Event` is used: a place in the device's queue, which gets its time when it comes up."""

    @property
    def elapsed_time(self) -> Callable[..., float]: ...

    def synchronize(self) -> None: ...


class StepClock:
    """Starts when it is made. No work is booked on a later phase than that which asked for it.

    On a GPU marks go down the queue with the work, and the clock waits for the device once, when it is read: waiting
    after each phase would keep the device from beginning with the next.
    """

    def __init__(self, device: torch.device) -> None:
        self._phases: dict[PhaseName, float] = dict.fromkeys(get_args(PhaseName), 0.0)
        self._on_gpu = device.type == "cuda"
        self._waiting: list[tuple[PhaseName, _Mark]] = []
        self._last_mark = _mark() if self._on_gpu else None
        self._last = time.perf_counter()

    def ends(self, phase: PhaseName) -> None:
        """Book the time since the last reading on `phase`."""
        if self._on_gpu:
            self._waiting.append((phase, _mark()))
            return
        now = time.perf_counter()
        self._phases[phase] += now - self._last
        self._last = now

    @property
    def seconds(self) -> float:
        """All time booked so far."""
        return sum(self._settled().values())

    def phases(self) -> PhaseSeconds:
        """What was booked on each phase."""
        return PhaseSeconds(**self._settled())

    def _settled(self) -> dict[PhaseName, float]:
        if self._waiting:
            self._waiting[-1][1].synchronize()  # with it all that was queued before is done
        for phase, mark in self._waiting:
            assert self._last_mark is not None
            self._phases[phase] += self._last_mark.elapsed_time(mark) / 1000  # milliseconds
            self._last_mark = mark
        self._waiting.clear()
        return self._phases


def _mark() -> _Mark:
    mark = torch.cuda.Event(enable_timing=True)
    mark.record()
    return mark
