"""Does the table of an estimate fit where people read it? In 80 columns nothing is cut."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from frostline.forecast import ArmEstimate, RunEstimate
from frostline.terminal.estimate import draw_estimate

NAME = "upper-half-of-attention-and-mlp"


@pytest.mark.parametrize("name", ["freeze", NAME])
def test_nothing_of_the_table_is_cut_in_80_columns(name: str) -> None:
    arms = [
        ArmEstimate(
            own,
            "train: all",
            119.9,
            119.8,
            7100.0,
            None if own == "full" else -0.123,
            0.448,
            0.512,
            987_000_000,
            1,
            0,
            123_456,
        )
        for own in ("full", name)
    ]
    estimate = RunEstimate(
        "", "full", "cpu", "fp32", arms, 9000.0, 8000.0, 10**9, 10**8, 7 * 10**9, 10**10, 10**10, [], 0.0, 60.0
    )
    file = io.StringIO()
    Console(file=file, width=80, color_system=None).print(draw_estimate(estimate))
    text = file.getvalue().replace("\N{NO-BREAK SPACE}", " ")
    assert "…" not in text
    for value in (
        "120 s",
        "118.3 min",
        "−12.3 %",
        "44.8 %",
        "(51.2 %)",
        "987 MB",
        "optimizer",
        "123,456",
        "60 s allow",
        "Memory: up to 7 GB, 10 GB are free",
    ):
        assert value in text
    cells = [line[1:].split("  ")[0].strip() for line in text.splitlines()]
    assert name in "".join(cells)
