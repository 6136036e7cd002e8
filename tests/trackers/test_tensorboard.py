"""Event files hold what the journal says, read back record by record, checksums included."""

from __future__ import annotations

import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frostline.trackers import track_run
from tests.builders.experiments import write_experiment
from tests.builders.processes import Processes
from tests.trackers.journals import Points, expected_points, same_points

pytest.importorskip("tensorboardX")


def records(path: Path) -> Iterator[bytes]:
    """The records of a file; a last one that was cut short is left out, as TensorBoard does."""
    content, at = path.read_bytes(), 0
    while at + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        if at + 16 + length > len(content):
            return
        record = content[at + 12 : at + 12 + length]
        assert struct.unpack_from("<I", content, at + 8)[0] == masked_crc(content[at : at + 8])
        assert struct.unpack_from("<I", content, at + 12 + length)[0] == masked_crc(record)
        yield record
        at += 16 + length


def masked_crc(content: bytes) -> int:
    """CRC-32C bit by bit, masked as TFRecord does."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(folder: Path) -> list[Any]:
    from tensorboardX.proto.event_pb2 import Event

    return [Event.FromString(record) for path in sorted(folder.glob("events.*")) for record in records(path)]


def points(folder: Path) -> Points:
    found: Points = {}
    for event in events(folder):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def shows(folder: Path, run: Path, *, clock: bool = True) -> bool:
    (experiment,) = folder.glob("tiny-*")
    expected = expected_points(run)
    names = {path.name for path in experiment.iterdir()}
    return names == {*expected, "verdicts"} and all(
        same_points(points(experiment / name), wanted, clock=clock) for name, wanted in expected.items()
    )


def test_files_hold_the_journal_and_are_told_on_after_a_kill_in_a_record(run: Path, tmp_path: Path) -> None:
    whole, again = tmp_path / "whole", tmp_path / "again"
    assert track_run(run, "tensorboard", whole, print).steps == 22
    assert shows(whole, run)
    (experiment,) = whole.glob("tiny-*")
    (last,) = [event for event in events(experiment / "full-seed0") if event.step == 6]
    assert {value.tag for value in last.summary.value if value.HasField("tensor")} == {
        f"text_{number}/text_summary" for number in range(3)
    }
    (verdicts,) = [event for event in events(experiment / "verdicts") if event.HasField("summary")]
    assert b"| C1 | freeze |" in verdicts.summary.value[0].tensor.string_val[0]

    (file,) = (experiment / "full-seed0").iterdir()
    place = again / experiment.name / "full-seed0"
    place.mkdir(parents=True)
    (place / file.name).write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    told = len(points(place)["loss"])
    assert 0 < told < 6
    assert track_run(run, "tensorboard", again, print).steps == 22 - told
    assert shows(again, run)


def test_a_run_that_is_killed_and_goes_on_is_tracked_whole(processes: Processes, tmp_path: Path) -> None:
    arms = {"full": {"train": "all"}, "reversed": {"freeze": ["attn@50%:"]}}
    measures = {"evaluate_every": 3, "common_tokens": 5, "sampling": {"prompts": 0}, "memory": False}
    few = {"layers": 2, "seeds": [0], "arms": arms, "measures": measures}
    recipe = write_experiment(tmp_path, checkpoints={"every_steps": 2}, **few)  # type: ignore[arg-type]
    cache, printed, run = tmp_path / "cache", tmp_path / "printed", tmp_path / "runs" / "tiny"
    cache.mkdir()
    command = ["run", str(recipe), "--out", str(run), "--track", "tensorboard"]
    assert processes.run(command, cache, printed, hook="SIGKILL:reversed:5") == -signal.SIGKILL
    assert processes.run(["resume", str(run), "--track", "tensorboard"], cache, printed) == 0
    assert shows(tmp_path / "runs" / "tensorboard", run, clock=False)
    assert printed.read_text().count("tensorboard --logdir") == 2
    assert [path.name[:5] for path in (tmp_path / "runs" / "tensorboard").iterdir()] == ["tiny-"]
