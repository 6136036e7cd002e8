"""Time is booked on the phase that asked for the work, on a GPU by marks in its queue and one wait at the end."""

from __future__ import annotations

import time

import pytest
import torch

from frostline.engine.clock import PhaseSeconds, StepClock
from tests.builders.gpu import DEVICE, StandInGpu


def test_on_the_cpu_it_is_that_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter((10.0, 10.5, 12.5, 12.75))
    monkeypatch.setattr(time, "perf_counter", lambda: next(readings))
    clock = StepClock(torch.device("cpu"))
    clock.ends("prefix")
    clock.ends("forward")
    clock.ends("prefix")
    assert clock.phases() == PhaseSeconds(prefix=0.75, forward=2.0, backward=0.0, optimizer=0.0)
    assert clock.seconds == 2.75


def test_on_a_gpu_it_is_that_of_the_device_which_is_waited_for_once(gpu: StandInGpu) -> None:
    gpu.work(1000)  # of another arm, before this clock starts
    clock = StepClock(DEVICE)
    for phase, milliseconds in (("forward", 250), ("backward", 500), ("forward", 250), ("optimizer", 125)):
        gpu.work(milliseconds)
        clock.ends(phase)  # type: ignore[arg-type]
    assert gpu.asked == []
    assert clock.seconds == 1.125
    assert clock.phases() == PhaseSeconds(prefix=0.0, forward=0.5, backward=0.5, optimizer=0.125)
    assert gpu.asked == ["wait for an event"]


def test_it_goes_on_after_it_was_read(gpu: StandInGpu) -> None:
    clock = StepClock(DEVICE)
    gpu.work(100)
    clock.ends("forward")
    assert clock.seconds == pytest.approx(0.1)
    gpu.work(300)
    clock.ends("backward")
    assert clock.phases() == PhaseSeconds(prefix=0.0, forward=0.1, backward=0.3, optimizer=0.0)
