"""What goes wrong in one arm stays there; what goes wrong with the disk stops the run, which goes on later."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from frostline.run_folder import ArmFailed, ArmFinished, read_journal, records_of
from frostline.run_folder.lock import run_lock
from tests.builders.experiments import journal_without_clock
from tests.builders.processes import Processes
from tests.survival.killing import Straight, run, snapshot

ARMS = ("full", "freeze", "reversed")
ENDS = {"memory": "out of memory", "nan": "finite", "defect": "ZeroDivisionError"}


def prepare(straight: Straight, name: str) -> tuple[Path, Path, Path]:
    """(cache, run folder, output) of another run of the experiment."""
    folder = straight.folder / name
    folder.mkdir()
    shutil.copytree(straight.cache, folder / "cache")
    return folder / "cache", folder / "run", folder / "output.txt"


@pytest.mark.parametrize("kind", ENDS)
def test_one_arm_of_three_fails_and_the_others_are_not_touched(
    kind: str, straight: Straight, processes: Processes
) -> None:
    cache, run_folder, output = prepare(straight, kind)
    assert processes.run(straight.arguments(run_folder), cache, output, hook=f"{kind}:freeze:4") == 1
    lines = read_journal(run_folder)
    failed = records_of(lines, ArmFailed)
    assert {(record.arm, record.seed, record.step, record.checkpoint_steps) for record in failed} == {
        ("freeze", 0, 4, 4),
        ("freeze", 1, 4, 4),
    }
    assert all(ENDS[kind] in record.cause for record in failed)
    found = journal_without_clock(run_folder)
    expected = straight.expected["journal"]
    assert isinstance(expected, dict)
    for name, own in found.items():
        if "freeze" not in name and name != "run.jsonl":
            assert own == expected[name]
    summary = json.loads((run_folder / "summary.json").read_text())
    assert any(
        "freeze, seed 0, stopped at step 4" in sentence for sentence in summary["variants"][0]["checks"]["failed"]
    )
    assert any("freeze cannot be compared" in sentence for sentence in summary["answer"])
    assert (run_folder / "failures").exists() == (kind == "defect" or kind == "memory")
    # Going on leaves it as it is; trying again, with the cause gone, gives what an untroubled run gives.
    assert processes.run(["resume", str(run_folder)], cache, output) == 1
    assert processes.run(["resume", str(run_folder), "--retry-failed"], cache, output) == 0, output.read_text()[-2000:]
    assert "freeze, seed 1: going on after step 4" in output.read_text()
    shutil.rmtree(run_folder / "failures", ignore_errors=True)
    assert snapshot(run_folder) == straight.expected


@pytest.mark.parametrize("largest", [600, 3_000, 9_000, 30_000, 100_000])
def test_a_full_disk_stops_the_run_which_goes_on_once_there_is_room(
    largest: int, straight: Straight, processes: Processes
) -> None:
    cache, run_folder, output = prepare(straight, f"full{largest}")
    code = processes.run(straight.arguments(run_folder), cache, output, hook=f"largest-file:{largest}")
    written = output.read_text()
    assert code == 2, written[-2000:]
    assert "no space is left" in written
    assert "Traceback" not in written
    run(processes, straight.arguments(run_folder), cache, run_folder.parent)
    assert snapshot(run_folder) == straight.expected


def test_a_folder_that_cannot_be_written_is_one_sentence(straight: Straight, processes: Processes) -> None:
    cache, run_folder, output = prepare(straight, "read-only")
    run_folder.write_text("a file")
    assert processes.run(["run", str(straight.recipe), "--out", str(run_folder / "below")], cache, output) == 2
    assert processes.run(straight.arguments(run_folder), cache, output) == 2
    assert "Traceback" not in output.read_text()
    assert run_folder.read_text() == "a file"


def test_a_second_writer_is_refused(straight: Straight, processes: Processes) -> None:
    cache, run_folder, output = prepare(straight, "two-writers")
    run_folder.mkdir()
    with run_lock(run_folder, print):
        assert processes.run(straight.arguments(run_folder), cache, output) == 2
    assert "another process writes there" in output.read_text()
    assert list(run_folder.iterdir()) == []


def test_no_room_for_the_run_is_told_before_it_begins(straight: Straight, processes: Processes) -> None:
    cache, run_folder, output = prepare(straight, "no-room")
    assert processes.run(straight.arguments(run_folder), cache, output, hook="free-bytes:50000") == 2
    assert "the run, with its checkpoints, needs" in output.read_text()
    assert "the disk has 50,000 left" in output.read_text()
    assert not run_folder.exists()


def test_a_run_that_has_finished_is_left_as_it_is(straight: Straight, processes: Processes) -> None:
    cache, _, output = prepare(straight, "finished")
    run_folder = straight.folder / "straight"
    before = {path: path.stat().st_mtime_ns for path in (run_folder / "journal").iterdir()}
    assert processes.run(["resume", str(run_folder)], cache, output) == 0
    assert "nothing is left to do" in output.read_text()
    assert {path: path.stat().st_mtime_ns for path in (run_folder / "journal").iterdir()} == before
    assert len(records_of(read_journal(run_folder), ArmFinished)) == len(ARMS) * 2
