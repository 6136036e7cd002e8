"""`frostline time` says of a GPU what it makes of its time; of a CPU as much as before."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from frostline.forecast import ArmTiming, MeanSeconds, Timing
from frostline.stats import Estimate
from frostline.terminal.timing import draw_timing

ARM = ArmTiming(
    arm="full",
    plan="train: all",
    step_seconds=Estimate(0.5, None, None, 0, "seconds", "mean"),
    phases=MeanSeconds(0.0, 0.0, 0.2, 0.2, 0.1),
    first_visit_seconds=None,
    saving=None,
    ceiling=0.0,
    ceiling_cached=0.0,
    ceiling_sentence="can save nothing: everything trains",
    needed_flops=1e12,
    share_of_peak=0.2,
    peak_bytes=None,
)
TIMING = Timing("", "full", 2048, "bf16", "cuda", 12, True, 1e13, [ARM, replace(ARM, arm="last", share_of_peak=0.5)])


def drawn(timing: Timing) -> str:
    console = Console(width=400)
    with console.capture() as captured:
        console.print(draw_timing(timing))
    return captured.get()


def test_tokens_a_second_are_told_and_a_warning_where_the_gpu_mostly_waits() -> None:
    text = drawn(TIMING)
    assert "full: 4,096 tokens a second, 20 % of this device's measured peak: it mostly waits." in text
    assert "last: 4,096 tokens a second, 50 % of this device's measured peak." in text


@pytest.mark.parametrize("device", ["cpu"])
def test_a_cpu_is_not_spoken_of(device: str) -> None:
    assert "tokens a second" not in drawn(replace(TIMING, device=device))
