"""The newest whole checkpoint counts, and saving stays a small share of the time."""

from __future__ import annotations

from collections import namedtuple
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import torch

from frostline.engine.checkpoint import ArmState
from frostline.errors import RunFolderError
from frostline.experiment.checkpoints import SAMPLE_BYTES, ArmCheckpoints, Checkpoint, Pace, expected_save_seconds
from frostline.recipe import CheckpointSettings
from frostline.run_folder import JournalPosition
from tests.builders.faults import DiskFaults, killed_at

ROWS = 300
Usage = namedtuple("Usage", ("total", "used", "free"))


def checkpoint(steps: int, evaluated: bool = False) -> Checkpoint:
    tensors = {"weight/a": torch.full((ROWS, 7), float(steps)), "step/a": torch.tensor(float(steps))}
    return Checkpoint(ArmState(steps, tensors, {"b": "00"}, []), evaluated, JournalPosition(steps, 10 * steps, "ab"))


def newest(checkpoints: ArmCheckpoints) -> tuple[Checkpoint | None, list[str]]:
    said: list[str] = []
    return checkpoints.newest(lambda position: None, said.append), said


def steps_of(found: Checkpoint | None) -> int:
    if found is None:
        return 0
    assert torch.equal(found.state.tensors["weight/a"], torch.full((ROWS, 7), float(found.state.steps)))
    return found.state.steps


def test_the_newest_is_found_and_older_ones_are_removed(tmp_path: Path) -> None:
    checkpoints = ArmCheckpoints(tmp_path / "arm", keep=2)
    assert newest(checkpoints) == (None, [])
    for steps in (3, 20, 100):
        checkpoints.save(checkpoint(steps))
    found, said = newest(checkpoints)
    assert found is not None
    assert (steps_of(found), found.evaluated, found.position, said) == (
        100,
        False,
        JournalPosition(100, 1000, "ab"),
        [],
    )
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["000000020-0", "000000100-0"]
    checkpoints.save(checkpoint(100, evaluated=True))
    found, _ = newest(checkpoints)
    assert found is not None
    assert found.evaluated
    checkpoints.remove()
    assert not checkpoints.folder.exists()


FILES = ("tensors-0000.safetensors", "arm.json", "place.json", "facts.json")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("tenth", range(10))
@pytest.mark.parametrize("how", ["cut", "flipped"])
def test_a_damaged_one_is_told_and_the_one_before_is_used(tmp_path: Path, file: str, tenth: int, how: str) -> None:
    checkpoints = ArmCheckpoints(tmp_path / "arm", keep=2)
    checkpoints.save(checkpoint(3))
    checkpoints.save(checkpoint(4))
    path = checkpoints.folder / "000000004-0" / file
    content = path.read_bytes()
    place = len(content) * tenth // 10
    path.write_bytes(
        content[:place] if how == "cut" else content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]
    )
    found, said = newest(checkpoints)
    assert steps_of(found) == 3
    assert len(said) == 1
    assert file in said[0]
    checkpoints.save(checkpoint(4))
    assert steps_of(newest(checkpoints)[0]) == 4


def test_one_that_the_journal_does_not_fit_is_not_used(tmp_path: Path) -> None:
    checkpoints = ArmCheckpoints(tmp_path / "arm", keep=2)
    checkpoints.save(checkpoint(3))
    checkpoints.save(checkpoint(4))

    def rewind(position: JournalPosition) -> None:
        if position.lines == 4:
            raise RunFolderError("the journal is shorter.")

    said: list[str] = []
    assert steps_of(checkpoints.newest(rewind, said.append)) == 3
    assert "the journal is shorter" in said[0]


def test_a_fault_at_any_operation_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    counted = ArmCheckpoints(tmp_path / "counted", keep=1)
    counted.save(checkpoint(3))
    faults = DiskFaults()
    with faults.active():
        counted.save(checkpoint(4))
    assert len(faults.seen) >= 30
    assert {"write", "fsync", "rename", "unlink", "rmdir"} <= set(faults.seen)
    for number in range(len(faults.seen)):
        checkpoints = ArmCheckpoints(tmp_path / str(number), keep=1)
        checkpoints.save(checkpoint(3))
        with DiskFaults(number).active(), suppress(RunFolderError):
            checkpoints.save(checkpoint(4))
        found, said = newest(checkpoints)
        assert steps_of(found) in (3, 4)
        assert said == []
        checkpoints.save(checkpoint(4))
        assert steps_of(newest(checkpoints)[0]) == 4


def test_a_process_killed_at_any_operation_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    number, seen = 0, set()
    while True:
        checkpoints = ArmCheckpoints(tmp_path / str(number), keep=1)
        checkpoints.save(checkpoint(3))
        if not killed_at(number, partial(checkpoints.save, checkpoint(4))):
            break
        found, said = newest(checkpoints)
        seen.add(steps_of(found))
        assert said == []
        checkpoints.save(checkpoint(4))
        assert steps_of(newest(checkpoints)[0]) == 4
        number += 1
    assert number >= 30
    assert seen == {3, 4}


def test_no_room_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = ArmCheckpoints(tmp_path / "arm", keep=2)
    checkpoints.save(checkpoint(3))
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(10**9, 10**9 - 5000, 5000))
    with pytest.raises(RunFolderError, match=r"needs [\d,]+ bytes, and the disk has 5,000 left"):
        checkpoints.save(checkpoint(4))
    assert steps_of(newest(checkpoints)[0]) == 3


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_saving_takes_no_more_than_its_share_of_the_time() -> None:
    clock = Clock()
    pace = Pace(CheckpointSettings(every_seconds=60), cost_seconds=1.0, now=clock)
    for step in range(1, 20_000):
        clock.now += 1.0
        if pace.is_due(step):
            clock.now += 5.0  # as long as a save takes
            pace.saved(5.0)
    assert pace.saves > 50
    assert pace.seconds / (clock.now - 1000.0) < 0.021


def test_steps_may_set_the_pace() -> None:
    clock = Clock()
    pace = Pace(CheckpointSettings(every_steps=4, largest_share=1), cost_seconds=0, now=clock)
    due = []
    for step in range(1, 13):
        clock.now += 0.1
        if pace.is_due(step):
            due.append(step)
            pace.saved(0.0)
    assert due == [4, 8, 12]


def test_without_a_pace_nothing_is_saved_on_the_way() -> None:
    pace = Pace(CheckpointSettings(every_seconds=None), cost_seconds=0, now=Clock())
    assert not any(pace.is_due(step) for step in range(1000))


def test_a_first_save_is_expected_to_take_as_long_as_small_ones_show(tmp_path: Path) -> None:
    assert expected_save_seconds(tmp_path / "training", 0) == 0
    small = expected_save_seconds(tmp_path / "training", SAMPLE_BYTES)
    assert expected_save_seconds(tmp_path / "training", 100 * SAMPLE_BYTES) > 10 * small > 0
    assert list((tmp_path / "training").iterdir()) == []


def test_a_disk_that_takes_no_sample_stops_the_run_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "training").write_text("in the way")
    with pytest.raises(RunFolderError, match="cannot be written"):
        expected_save_seconds(tmp_path / "training", 1000)
