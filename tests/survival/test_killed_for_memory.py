"""A process that the kernel kills at one step again and again, for want of memory, does not take all arms along."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest

from frostline.run_folder import ArmFailed, read_journal, records_of
from tests.builders.experiments import journal_without_clock
from tests.builders.processes import Processes
from tests.survival.killing import Straight, snapshot

KIND = "a half-built prefix cache"
KILL = "SIGKILL:full:4"


@pytest.fixture
def experiment(straight_of: Callable[[str], Straight], tmp_path: Path) -> Straight:
    straight = straight_of(KIND)
    copytree(straight.cache, tmp_path / "cache")
    return Straight(KIND, straight.folder, straight.recipe, tmp_path / "cache", straight.seconds, straight.expected)


def test_killed_twice_at_a_step_the_arm_fails_and_the_others_go_on(
    experiment: Straight, tmp_path: Path, processes: Processes
) -> None:
    run_folder, output = tmp_path / "run", tmp_path / "output.txt"
    command = experiment.arguments(run_folder)
    for count in (5, 6):
        assert processes.run(command, experiment.cache, output, hook=f"oom-kills:{count} {KILL}") == -signal.SIGKILL
    said = "The system has killed the process before this one while it was at arm full, seed 0, it seems for want"
    assert output.read_text().count(said) == 1
    assert processes.run(command, experiment.cache, output, hook="oom-kills:7") == 1
    (failed,) = records_of(read_journal(run_folder), ArmFailed)
    assert (failed.arm, failed.step) == ("full", 4)
    assert "out of memory: the system killed the process twice at the same place" in failed.cause
    expected = experiment.expected["journal"]
    assert isinstance(expected, dict)
    name = "variant0-seed0-freeze.jsonl"
    assert journal_without_clock(run_folder)[name] == expected[name]
    assert not (run_folder / "at_work.json").exists()


@pytest.mark.parametrize("counts", [(5, 5, 5), (5, 6, 6)])
def test_killed_by_something_else_the_run_goes_on_with_all_arms(
    counts: tuple[int, int, int], experiment: Straight, tmp_path: Path, processes: Processes
) -> None:
    run_folder, output = tmp_path / "run", tmp_path / "output.txt"
    command = experiment.arguments(run_folder)
    for count in counts[:2]:
        assert processes.run(command, experiment.cache, output, hook=f"oom-kills:{count} {KILL}") == -signal.SIGKILL
    assert processes.run(command, experiment.cache, output, hook=f"oom-kills:{counts[2]}") == 0
    assert snapshot(run_folder) == experiment.expected
