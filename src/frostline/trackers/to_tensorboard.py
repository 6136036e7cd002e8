"""Files of events that TensorBoard reads. One record holds a whole row, so that a kill leaves all of it or none.

Each process that tells has a file of its own; what the earlier ones wrote is read back, up to a record that a kill has
cut short.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import text as text_summary

from frostline.trackers.tracker import NOTHING, Row, Status, TrackedRun

VERSION = "brain.Event:2"


class EventFiles:
    """The events of one arm, in a folder of its own."""

    def __init__(self, folder: Path, began: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._began = began
        earlier = sorted(folder.glob("events.out.tfevents.*"))
        steps = (event.step for path in earlier for event in _events(path) if event.HasField("summary"))
        self.told_until = max(steps, default=NOTHING)
        self._path = folder / f"events.out.tfevents.{time.time_ns() // 1000:016d}.frostline.{os.getpid()}"
        self._writer: RecordWriter | None = None

    def tell(self, rows: Sequence[Row]) -> None:
        if self._writer is None:
            self._writer = RecordWriter(str(self._path))
            self._write(Event(wall_time=self._began, file_version=VERSION))
        for row in rows:
            values = [Summary.Value(tag=name, simple_value=value) for name, value in row.values.items()]
            for name, markdown in row.texts.items():
                values.extend(text_summary(name, markdown).value)
            self._write(Event(wall_time=self._began + row.seconds, step=row.step, summary=Summary(value=values)))
            self.told_until = row.step
        self._writer.flush()

    def end(self, status: Status) -> None:
        if self._writer is not None:
            self._writer.close()

    def _write(self, event: Event) -> None:
        assert self._writer is not None
        self._writer.write(event.SerializeToString())


class EventFolder:
    """A folder that TensorBoard is pointed at: a folder for each run of an experiment, and in it one for each arm."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, run: TrackedRun) -> EventFiles:
        return EventFiles(self._folder / run.group / run.name, run.began)


def opened(folder: Path) -> EventFolder:
    return EventFolder(folder)


def _events(path: Path) -> Iterator[Event]:
    """The whole records of a file: length, its checksum, the event, its checksum."""
    with path.open("rb") as file:
        while len(header := file.read(12)) == 12:
            (length,) = struct.unpack("<Q", header[:8])
            content = file.read(length + 4)
            if len(content) < length + 4:
                return
            yield Event.FromString(content[:length])
