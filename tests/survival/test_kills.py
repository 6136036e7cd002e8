"""A run that is killed at any moment and goes on gives what it would have given.

`FROSTLINE_KILLS` sets how many runs are killed in all (one of every other kind unless set; `make soak` kills 200).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders.processes import Processes
from tests.survival.killing import FILLED, KINDS, Straight, kill_and_go_on, moments_of, run, snapshot

KILLS = int(os.environ.get("FROSTLINE_KILLS", "0"))


@pytest.mark.parametrize("kind", KINDS if KILLS else list(KINDS)[1::2])
def test_a_run_killed_at_random_moments_gives_the_same(
    kind: str, straight_of: Callable[[str], Straight], processes: Processes
) -> None:
    straight = straight_of(kind)
    generator = random.Random(f"{kind} {KILLS}")
    for trial in range(max(1, KILLS // len(KINDS))):
        moments = moments_of(straight, generator, 1)
        run_folder = kill_and_go_on(processes, straight, moments, f"trial{trial}")
        assert snapshot(run_folder) == straight.expected, f"killed after {moments} of {straight.seconds} s"
        shutil.rmtree(run_folder.parent)


def test_five_kills_in_a_row_also_while_it_goes_on(straight: Straight, processes: Processes) -> None:
    generator = random.Random("five")
    for trial in range(max(1, KILLS // 20)):
        moments = [moment / 2 for moment in moments_of(straight, generator, 5)]
        run_folder = kill_and_go_on(processes, straight, moments, f"five{trial}")
        assert snapshot(run_folder) == straight.expected, f"killed after {moments}"
        shutil.rmtree(run_folder.parent)


def test_a_run_killed_while_it_writes_its_report_gives_the_same(
    straight: Straight, tmp_path: Path, processes: Processes
) -> None:
    cache, run_folder, output = tmp_path / "cache-killed", tmp_path / "killed", tmp_path / "killed.txt"
    shutil.copytree(straight.cache, cache)
    processes.begin(straight.arguments(run_folder), cache, output, quick=False)  # it draws for seconds
    processes.wait_until(lambda: output.exists() and "Writing summary and report" in output.read_text())
    processes.send(signal.SIGKILL)
    assert processes.wait() == -signal.SIGKILL
    assert not (run_folder / "report.html").exists()
    run(processes, ["resume", str(run_folder)], cache, tmp_path)
    assert snapshot(run_folder) == straight.expected


@pytest.mark.parametrize("windows", [3, 20])
def test_a_run_killed_while_it_fills_rows_goes_on_with_those_that_it_has(
    windows: int, straight_of: Callable[[str], Straight], tmp_path: Path, processes: Processes
) -> None:
    straight = straight_of(FILLED)
    cache, run_folder, output = tmp_path / "cache-killed", tmp_path / "killed", tmp_path / "killed.txt"
    shutil.copytree(straight.cache, cache)
    hook = f"kill-in-fill:{windows}"
    assert processes.run(straight.arguments(run_folder), cache, output, hook=hook) == -signal.SIGKILL
    assert list(cache.rglob("*passing.rows"))
    assert processes.run(straight.arguments(run_folder), cache, output) == 0, output.read_text()[-3000:]
    assert snapshot(run_folder) == straight.expected
    filled = [json.loads(line) for line in (run_folder / "journal" / "run.jsonl").read_text().splitlines()]
    layers = [line for line in filled if line["kind"] == "LayerFilled"]
    assert sum(line["computed_windows"] for line in layers) == sum(line["windows"] for line in layers) - windows
    assert not list(cache.rglob("*passing.rows"))


def test_a_damaged_newest_checkpoint_is_told_and_costs_no_bit(
    straight_of: Callable[[str], Straight], tmp_path: Path, processes: Processes
) -> None:
    straight = straight_of("a half-built prefix cache")
    cache, run_folder, output = tmp_path / "cache-killed", tmp_path / "killed", tmp_path / "killed.txt"
    shutil.copytree(straight.cache, cache)
    assert processes.run(straight.arguments(run_folder), cache, output, hook="SIGKILL:full:5") == -signal.SIGKILL
    saved = run_folder / "checkpoints" / "_training" / "variant0-seed0-full"
    assert len(list(saved.glob("[0-9]*"))) == 2
    newest = max(saved.glob("[0-9]*"))
    damaged = newest / "tensors-0000.safetensors"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(bytes(content))
    run(processes, straight.arguments(run_folder), cache, tmp_path)
    written = (tmp_path / "output.txt").read_text()
    assert "A damaged checkpoint is not used" in written
    assert f"{newest.name}/tensors-0000.safetensors" in written
    assert snapshot(run_folder) == straight.expected
