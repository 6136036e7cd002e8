"""A race of learning rates that is killed or stopped in the middle of a trial goes on with that trial."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from frostline.run_folder import RateTried, StepTaken, read_journal, records_of
from tests.builders.processes import Processes
from tests.survival.killing import RACED, Straight, run, snapshot

CODES = {"SIGTERM": 143, "SIGINT": 130}


def trials_in(run_folder: Path) -> list[tuple[str, float]]:
    return [(trial.arm, trial.learning_rate) for trial in records_of(read_journal(run_folder), RateTried)]


@pytest.mark.parametrize("name", CODES)
def test_a_race_stopped_in_the_middle_of_a_trial_goes_on_with_it_and_gives_the_same(
    name: str, straight_of: Callable[[str], Straight], tmp_path: Path, processes: Processes
) -> None:
    straight = straight_of(RACED)
    trials = trials_in(straight.folder / "straight")
    before = [arm for arm, _ in trials].index("freeze") + 1
    cache, run_folder, output = tmp_path / "cache-stopped", tmp_path / "stopped", tmp_path / "stopped.txt"
    shutil.copytree(straight.cache, cache)
    # In the third step of the arm's second trial; the other arm's race has ended by then.
    assert processes.run(straight.arguments(run_folder), cache, output, hook=f"{name}:freeze:2:2") == CODES[name]
    assert trials_in(run_folder) == trials[:before]
    assert not records_of(read_journal(run_folder), StepTaken)
    run(processes, ["resume", str(run_folder)], cache, tmp_path)
    assert snapshot(run_folder) == straight.expected
    raced = re.findall(r"  (\w+) at \S+: \S+ nats$", (tmp_path / "output.txt").read_text(), re.MULTILINE)
    assert raced == [arm for arm, _ in trials[before:] if arm != "twin"], "trials that were done are not repeated"


def test_a_race_killed_in_every_trial_gives_the_same(
    straight_of: Callable[[str], Straight], tmp_path: Path, processes: Processes
) -> None:
    straight = straight_of(RACED)
    cache, run_folder, output = tmp_path / "cache-killed", tmp_path / "killed", tmp_path / "killed.txt"
    shutil.copytree(straight.cache, cache)
    kills = 0
    # Each process ends one trial and dies in the next, of whichever arm that is.
    while processes.run(straight.arguments(run_folder), cache, output, hook="SIGKILL:full:3:2 SIGKILL:freeze:3:2") != 0:
        kills += 1
        assert kills < 20, output.read_text()[-2000:]
    assert kills >= 4
    assert snapshot(run_folder) == straight.expected
