"""A cache folder that is full, on a disk of its own: what must be there stops a run in a sentence, no more."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment
from tests.builders.processes import Processes
from tests.survival.test_real_disk import PLENTY, disk, remount

__all__ = ["disk"]  # the fixture


def filled_to(cache: Path, room: int) -> None:
    """Leave about so many thousands of bytes free on the disk of `cache`."""
    used = sum(-(-path.stat().st_size // 4096) * 4 for path in cache.rglob("*") if path.is_file())
    folders = 4 * sum(path.is_dir() for path in cache.rglob("*"))
    remount(cache, f"size={used + folders + room}k")


def test_a_cache_without_room_for_the_tokens_stops_the_run_before_it_begins(
    processes: Processes, disk: Path, tmp_path: Path
) -> None:
    recipe, output = write_experiment(tmp_path / "study", seeds=[0]), tmp_path / "output.txt"
    remount(disk, "size=8k")
    arguments = ["run", str(recipe), "--out", str(tmp_path / "run")]
    assert processes.run(arguments, disk, output) == 2, output.read_text()
    assert f"no space left in the cache folder '{disk / 'corpora'}'" in output.read_text()
    assert "Traceback" not in output.read_text()
    assert not (tmp_path / "run").exists()
    remount(disk, PLENTY)
    assert processes.run(arguments, disk, output) == 0, output.read_text()


@pytest.mark.parametrize("room", [0, 12, 40])
def test_a_cache_that_fills_costs_later_runs_an_arm_and_this_one_nothing(
    room: int, processes: Processes, disk: Path, tmp_path: Path
) -> None:
    """As where another process fills it meanwhile."""
    recipe, output = write_experiment(tmp_path / "study", seeds=[0]), tmp_path / "output.txt"
    alone = run_tiny(recipe, tmp_path / "alone", fresh=False).run_folder
    shutil.copytree(recipe.parent / "cache" / "corpora", disk / "corpora")
    filled_to(disk, room)
    arguments = ["run", str(recipe), "--out", str(tmp_path / "run")]
    assert processes.run(arguments, disk, output) == 0, output.read_text()
    assert "Traceback" not in output.read_text()
    assert output.read_text().count("Not kept for later runs: no space left in the cache folder") >= 1
    assert journal_without_clock(tmp_path / "run") == journal_without_clock(alone)
    assert not list(disk.rglob(".writing-*"))
    remount(disk, PLENTY)
    assert processes.run([*arguments[:-1], str(tmp_path / "again")], disk, output) == 0, output.read_text()
    assert journal_without_clock(tmp_path / "again") == journal_without_clock(alone)
