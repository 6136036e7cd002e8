"""The page on large models says what the byte counts say today."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.fits_table import BEGIN, END, PLANS, SIZES, rows_of

PAGE = Path(__file__).parents[2] / "docs/large-models.md"


def _rows() -> list[str]:
    inside = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    return [line for line in inside.splitlines() if line.startswith("|")][2:]


@pytest.mark.parametrize("size", ["135M", "3B"])
def test_the_table_of_the_page_is_what_its_script_prints(size: str) -> None:
    assert [row for row in _rows() if row.startswith(f"| {size} ")] == rows_of(size)


def test_the_table_has_every_model_and_plan() -> None:
    assert len(_rows()) == len(SIZES) * len(PLANS)
