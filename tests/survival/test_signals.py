"""SIGTERM and Ctrl+C save and stop soon, whenever they come; a second one leaves at once.

`FROSTLINE_SIGNALS` sets at how many moments (one of each unless set; `make soak` takes 50).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.builders.processes import Processes
from tests.survival.killing import Straight, run, snapshot

SIGNALS = int(os.environ.get("FROSTLINE_SIGNALS", "2"))
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def steps_taken(run_folder: Path) -> int:
    """Of all arms and replicates, as the journal has them."""
    return sum(path.read_text().count("StepTaken") for path in run_folder.glob("journal/*.jsonl"))


@pytest.mark.parametrize("number", CODES)
def test_a_signal_at_any_moment_saves_and_stops_soon(
    number: signal.Signals, straight: Straight, processes: Processes
) -> None:
    generator = random.Random(f"{number} {SIGNALS}")
    for trial in range(max(1, SIGNALS // 2)):
        folder = straight.folder / f"{number.name}{trial}"
        folder.mkdir()
        cache, run_folder, output = folder / "cache", folder / "run", folder / "output.txt"
        shutil.copytree(straight.cache, cache)
        moment = generator.uniform(0, straight.seconds)
        processes.begin(straight.arguments(run_folder), cache, output)
        processes.wait_until(lambda: processes.catches(signal.SIGTERM))
        time.sleep(moment)
        processes.send(number)
        taken = steps_taken(run_folder)
        code = processes.wait()
        taken_after = steps_taken(run_folder) - taken
        written = output.read_text()
        assert code in (CODES[number], 0), f"{code} after {moment} s: {written[-2000:]}"
        assert code != 0 or "Report:" in written, written[-2000:]
        # The step that the signal came in is finished, no other one is begun.
        assert taken_after <= 1, f"{taken_after} steps after {moment} s: {written[-2000:]}"
        assert "Traceback" not in written, written[-2000:]
        run(processes, straight.arguments(run_folder), cache, folder)
        assert snapshot(run_folder) == straight.expected, f"stopped after {moment} s"
        shutil.rmtree(folder)


def test_what_was_done_before_a_signal_is_not_done_again(straight: Straight, processes: Processes) -> None:
    folder = straight.folder / "saved"
    folder.mkdir()
    cache, run_folder, output = folder / "cache", folder / "run", folder / "output.txt"
    shutil.copytree(straight.cache, cache)
    # No checkpoint is due on the way: only the signal's own is there.
    arguments = [*straight.arguments(run_folder), "--set", "checkpoints={every_seconds: null}"]
    arguments += ["--set", "training.steps=30", "--set", "seeds=[0]"]
    assert processes.run(arguments, cache, output, hook="SIGTERM:full:9") == 143
    assert "frostline resume" in output.read_text()
    journal = run_folder / "journal" / "variant0-seed0-full.jsonl"
    taken = journal.read_text().count("StepTaken")
    assert taken == 10
    run(processes, ["resume", str(run_folder)], cache, folder)
    assert f"Arm full, seed 0: going on after step {taken}" in (folder / "output.txt").read_text()


def test_a_second_signal_leaves_at_once_with_the_last_checkpoint_whole(
    straight: Straight, processes: Processes
) -> None:
    folder = straight.folder / "twice"
    folder.mkdir()
    cache, run_folder, output = folder / "cache", folder / "run", folder / "output.txt"
    shutil.copytree(straight.cache, cache)
    assert processes.run(straight.arguments(run_folder), cache, output, hook="SIGINT+SIGTERM:freeze:3") == 143
    journal = run_folder / "journal" / "variant0-seed0-freeze.jsonl"
    assert journal.read_text().count("StepTaken") == 3, "the step that they came in is not finished"
    run(processes, straight.arguments(run_folder), cache, folder)
    assert snapshot(run_folder) == straight.expected
