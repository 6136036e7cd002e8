"""Runs made once for the whole folder: drawing is what takes the time."""

from __future__ import annotations

from pathlib import Path

import pytest

from frostline.report import Run, open_run, write_report
from tests.report.sample_run import Shape, write_run

HOSTILE = (
    "</style></title><script>alert(1)</script><img src=x onerror=alert(2)> \" ' onmouseover='x' "
    "<svg onload=alert(3)> {{ 7*7 }} javascript:alert(4) \x1b[31m \u202etxt \u2066x"
)


@pytest.fixture(scope="module", autouse=True)
def quick() -> None:
    """Figures are what these tests look at: reports have them all."""


@pytest.fixture(scope="session")
def plain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three arms, three replicates, everything measured."""
    return write_run(tmp_path_factory.mktemp("plain") / "run")


@pytest.fixture(scope="session")
def plain_run(plain_folder: Path) -> Run:
    return open_run(plain_folder)


@pytest.fixture(scope="session")
def plain_page(plain_folder: Path) -> str:
    return write_report(plain_folder).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def hostile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like the plain run in everything but its text."""
    folder = tmp_path_factory.mktemp("hostile") / "run"
    return write_run(folder, Shape(text=HOSTILE, seeds=(0, 1), layers=2, steps=8))


@pytest.fixture(scope="session")
def hostile_page(hostile_folder: Path) -> str:
    return write_report(hostile_folder).read_text(encoding="utf-8")
