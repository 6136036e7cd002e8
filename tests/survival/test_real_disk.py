"""A disk that is really full, and one that is really read-only: a tmpfs, where this machine lets one be mounted."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.processes import Processes
from tests.survival.killing import Straight, run, snapshot

PLENTY = "size=50m"
SIZES = [8, 16, 40, 300, 500, 640, 800, 900, 1000, 1200]
"""In thousands of bytes: from the first file to the checkpoints of the third step."""
TRIED = SIZES if "FROSTLINE_KILLS" in os.environ else SIZES[::3]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, empty."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or mount("-t", "tmpfs", "-o", PLENTY, "tmpfs", str(folder)) != 0:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mount(*arguments: str) -> int:
    return subprocess.run(["mount", *arguments], check=False, capture_output=True).returncode


def remount(disk: Path, options: str) -> None:
    assert mount("-o", f"remount,{options}", str(disk)) == 0


@pytest.mark.parametrize("size", TRIED)
def test_a_disk_that_fills_stops_the_run_which_goes_on_once_there_is_room(
    size: int, straight: Straight, processes: Processes, disk: Path, tmp_path: Path
) -> None:
    cache, output, run_folder = tmp_path / "cache", tmp_path / "output.txt", disk / "run"
    shutil.copytree(straight.cache, cache)
    remount(disk, f"size={size}k")
    # The check beforehand is told that there is room: another process takes it meanwhile.
    code = processes.run(straight.arguments(run_folder), cache, output, hook="free-bytes:1000000000")
    written = output.read_text()
    assert "Traceback" not in written
    assert code == 2, written[-2000:]
    assert "no space is left" in written
    remount(disk, PLENTY)
    run(processes, straight.arguments(run_folder), cache, tmp_path)
    assert snapshot(run_folder) == straight.expected


def test_a_disk_that_is_full_leaves_the_report_as_it_was(
    straight: Straight, processes: Processes, disk: Path, tmp_path: Path
) -> None:
    output, run_folder = tmp_path / "output.txt", disk / "run"
    shutil.copytree(straight.folder / "straight", run_folder)
    before = snapshot(run_folder), (run_folder / "report.html").read_bytes()
    filled = subprocess.run(["du", "-sk", str(disk)], check=True, capture_output=True, text=True).stdout.split()[0]
    remount(disk, f"size={int(filled) + 8}k")
    assert processes.run(["report", str(run_folder)], straight.cache, output) == 2, output.read_text()
    assert "no space left" in output.read_text().lower()
    assert (snapshot(run_folder), (run_folder / "report.html").read_bytes()) == before


def test_a_disk_that_became_read_only_is_one_sentence_and_costs_nothing(
    straight: Straight, processes: Processes, disk: Path, tmp_path: Path
) -> None:
    cache, output, run_folder = tmp_path / "cache", tmp_path / "output.txt", disk / "run"
    shutil.copytree(straight.cache, cache)
    remount(disk, "ro")
    assert processes.run(straight.arguments(run_folder), cache, output) == 2
    remount(disk, "rw")
    assert processes.run(straight.arguments(run_folder), cache, output, hook="nan:freeze:4") == 1
    remount(disk, "ro")
    for again in (["resume", str(run_folder), "--retry-failed"], ["report", str(run_folder)]):
        assert processes.run(again, cache, output) == 2, output.read_text()[-2000:]
    assert output.read_text().lower().count("read-only file system") == 2
    assert f"{run_folder}: cannot be made: no right to write" in output.read_text()
    assert "Traceback" not in output.read_text()
    remount(disk, "rw")
    assert processes.run(["resume", str(run_folder), "--retry-failed"], cache, output) == 0
    assert snapshot(run_folder) == straight.expected
