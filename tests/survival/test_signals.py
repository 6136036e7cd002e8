"""SIGTERM and Ctrl+C save and stop soon, whenever they come; a second one leaves at once.

`FROSTLINE_SIGNALS` sets at how many moments (4 unless set; `make soak` takes 50).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.builders.processes import Frostline
from tests.survival.killing import Straight, run, snapshot

SIGNALS = int(os.environ.get("FROSTLINE_SIGNALS", "4"))
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def steps_taken(run_folder: Path) -> int:
    """Of all arms and replicates, as the journal has them."""
    return sum(path.read_text().count("StepTaken") for path in run_folder.glob("journal/*.jsonl"))


@pytest.mark.parametrize("number", CODES)
def test_a_signal_at_any_moment_saves_and_stops_soon(
    number: signal.Signals, straight: Straight, frostline: Frostline
) -> None:
    generator = random.Random(f"{number} {SIGNALS}")
    for trial in range(max(1, SIGNALS // 2)):
        folder = straight.folder / f"{number.name}{trial}"
        folder.mkdir()
        cache, run_folder, output = folder / "cache", folder / "run", folder / "output.txt"
        shutil.copytree(straight.cache, cache)
        moment = generator.uniform(0.05, straight.seconds)
        frostline.begin(straight.arguments(run_folder), cache, output)
        time.sleep(moment)
        frostline.send(number)
        taken = steps_taken(run_folder)
        code = frostline.wait()
        taken_after = steps_taken(run_folder) - taken
        written = output.read_text()
        assert code in (CODES[number], 0), f"{code} after {moment} s: {written[-2000:]}"
        assert code != 0 or "Report:" in written, written[-2000:]
        # The step that the signal came in is finished, no other one is begun.
        assert taken_after <= 1, f"{taken_after} steps after {moment} s: {written[-2000:]}"
        assert "Traceback" not in written, written[-2000:]
        run(frostline, straight.arguments(run_folder), cache, folder)
        assert snapshot(run_folder) == straight.expected, f"stopped after {moment} s"
        shutil.rmtree(folder)


def test_what_was_done_before_a_signal_is_not_done_again(straight: Straight, frostline: Frostline) -> None:
    folder = straight.folder / "saved"
    folder.mkdir()
    cache, run_folder, output = folder / "cache", folder / "run", folder / "output.txt"
    shutil.copytree(straight.cache, cache)
    # No checkpoint is due on the way: only the signal's own is there.
    arguments = [*straight.arguments(run_folder), "--set", "checkpoints={every_seconds: null}"]
    arguments += ["--set", "training.steps=200", "--set", "seeds=[0]"]
    frostline.begin(arguments, cache, output)
    journal = run_folder / "journal" / "variant0-seed0-full.jsonl"
    while not journal.exists() or journal.read_text().count("StepTaken") < 20:
        time.sleep(0.02)
    frostline.send(signal.SIGTERM)
    assert frostline.wait() == 143
    assert "frostline resume" in output.read_text()
    taken = journal.read_text().count("StepTaken")
    run(frostline, ["resume", str(run_folder)], cache, folder)
    assert f"Arm full, seed 0: going on after step {taken}" in (folder / "output.txt").read_text()


def test_a_second_signal_leaves_at_once_with_the_last_checkpoint_whole(
    straight: Straight, frostline: Frostline
) -> None:
    folder = straight.folder / "twice"
    folder.mkdir()
    cache, run_folder, output = folder / "cache", folder / "run", folder / "output.txt"
    shutil.copytree(straight.cache, cache)
    frostline.begin(straight.arguments(run_folder), cache, output)
    time.sleep(straight.seconds / 2)
    frostline.send(signal.SIGINT)
    frostline.send(signal.SIGTERM)
    assert frostline.wait() in (130, 143)
    run(frostline, straight.arguments(run_folder), cache, folder)
    assert snapshot(run_folder) == straight.expected
