"""Appends records to the journal of a run folder: one JSON line each, flushed at once, never rewritten.

Records of one arm of one replicate have a file of their own, so that an arm's journal does not depend on which other
arms there are or in which order they ran; everything else is in `run.jsonl`. A run that goes on after it was stopped
cuts a file back to where its checkpoint was taken (`ArmJournal.rewind`), and appends from there. Signals are held back
while a line is written; trouble with the disk is a `RunFolderError`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from frostline.errors import RunFolderError
from frostline.interruption import Interruption
from frostline.run_folder.arm_place import ArmPlace
from frostline.run_folder.folder import JOURNAL_FOLDER, RUN_FILE, name_of_arm
from frostline.run_folder.read import read_lines
from frostline.run_folder.records import Record
from frostline.storage import disk_trouble, flush_folder


@dataclass(frozen=True)
class JournalPosition:
    """A place between two lines of one file of the journal."""

    lines: int
    bytes: int
    sha256: str
    """SHA-256 of everything before the place."""


_AS_JSON = "backslashreplace"
"""Halves of characters, of file names that are not UTF-8, become what JSON reads back as them."""
BEGINNING = JournalPosition(0, 0, hashlib.sha256().hexdigest())


class _OpenFile:
    """One file of the journal. What it holds already is read, so that appending goes on with the right number."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Unbuffered: a line that the disk did not take is not written later, after others.
        self.file = path.open("a+b", buffering=0)
        self.file.seek(0)
        content = self.file.read()
        self.lines, self.bytes, self.digest = content.count(b"\n"), len(content), hashlib.sha256(content)

    def append(self, line: bytes) -> None:
        unwritten = memoryview(line)
        while unwritten:
            unwritten = unwritten[self.file.write(unwritten) :]
        self.lines, self.bytes = self.lines + 1, self.bytes + len(line)
        self.digest.update(line)

    @property
    def position(self) -> JournalPosition:
        return JournalPosition(self.lines, self.bytes, self.digest.hexdigest())


class Journal:
    """The append-only record of a run. Not for several writers."""

    def __init__(
        self, run_folder: Path, variants: Sequence[str] = (), interruption: Interruption | None = None
    ) -> None:
        """`variants` are the labels in their order, where an earlier process may have begun with one of them.

        `interruption`, where there is one, waits until a line is whole.
        """
        self.run_folder = run_folder
        self.folder = run_folder / JOURNAL_FOLDER
        self.folder.mkdir(exist_ok=True)
        self._files: dict[Path, _OpenFile] = {}
        self._variants = list(variants)
        self.interruption = Interruption() if interruption is None else interruption
        self._require_unchanged: Callable[[], None] = _nothing

    def of(self, place: ArmPlace) -> ArmJournal:
        """What is written about one arm of one replicate."""
        if place.variant not in self._variants:
            self._variants.append(place.variant)
        name = f"{name_of_arm(self._variants.index(place.variant), place.seed, place.arm)}.jsonl"
        return ArmJournal(self, place, self.folder / name)

    def append(self, record: Record) -> None:
        """Write `record` and hand it to the operating system. Raises `RunFolderError` when the disk takes no more."""
        self._require_unchanged()
        values = {"kind": type(record).__name__, **_finite(asdict(record))}
        seed, arm = getattr(record, "seed", None), getattr(record, "arm", None)
        if seed is None or arm is None:
            self._write(self.folder / RUN_FILE, values)
        else:
            self._write(self.of(ArmPlace(getattr(record, "variant", ""), seed, arm)).path, values)

    @contextmanager
    def as_long_as(self, require_unchanged: Callable[[], None]) -> Iterator[None]:
        """In the block `require_unchanged` is asked before each record: what the record tells of may not be kept.

        It raises where a model has changed from which that was computed.
        """
        self._require_unchanged = require_unchanged
        try:
            yield
        finally:
            self._require_unchanged = _nothing

    def cut_run_file(self, bytes_kept: int) -> None:
        """Keep the first `bytes_kept` bytes of the run's own file: what a process that stopped wrote last goes."""
        path = self.folder / RUN_FILE
        self._close(path)
        if path.exists():
            os.truncate(path, bytes_kept)

    def close(self) -> None:
        for path in list(self._files):
            self._close(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Nothing in the block is cut in two by a signal; what the disk says is a sentence."""
        with self.interruption.deferred():
            try:
                yield
            except OSError as error:
                raise disk_trouble(error, Path(error.filename) if error.filename else self.folder) from error

    def _write(self, path: Path, values: Mapping[str, object]) -> None:
        with self._whole():
            file = self._open(path)
            line = {"sequence": file.lines, **{key: value for key, value in values.items() if key != "sequence"}}
            file.append(line_bytes(line))

    def _open(self, path: Path) -> _OpenFile:
        if path not in self._files:
            self._files[path] = _OpenFile(path)
        return self._files[path]

    def _close(self, path: Path) -> None:
        if path in self._files:
            self._files.pop(path).file.close()


@dataclass(frozen=True)
class ArmJournal:
    """One file of the journal: what is written about one arm of one replicate."""

    journal: Journal
    place: ArmPlace
    path: Path

    def append(self, record: Record) -> None:
        """See `Journal.append`."""
        self.journal.append(record)

    def append_again(self, line: Mapping[str, object]) -> None:
        """Write a line that another run's journal holds about such an arm. Raises `RunFolderError`."""
        self.journal._write(self.path, {**line, **self.place._asdict()})

    def lines(self) -> bytes:
        """All that is written; nothing where the arm has not begun."""
        return self.path.read_bytes() if self.path.exists() else b""

    def records(self) -> list[dict[str, object]]:
        """The whole lines. Raises `RunFolderError` where one is damaged."""
        return read_lines(self.journal.run_folder, self.path.name)[0]

    @property
    def position(self) -> JournalPosition:
        """The end of what is written."""
        return self.journal._open(self.path).position

    def rewind(self, position: JournalPosition) -> None:
        """Forget what was written after `position`; a torn last line goes with it.

        Raises `RunFolderError` where the file is not what it was at `position`; then nothing is changed.
        """
        with self.journal._whole():
            self.journal._close(self.path)
            content = self.lines()
            if hashlib.sha256(content[: position.bytes]).hexdigest() != position.sha256:
                raise RunFolderError(f"{self.path}: its first {position.bytes:,} bytes are not what was written there.")
            if len(content) > position.bytes:
                os.truncate(self.path, position.bytes)

    def flush(self) -> None:
        """Flush what is written to the disk. Raises `RunFolderError`."""
        with self.journal._whole():
            os.fsync(self.journal._open(self.path).file.fileno())
            flush_folder(self.journal.folder)


def line_bytes(line: Mapping[str, object]) -> bytes:
    """A line of the journal as it is written."""
    return (json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode(errors=_AS_JSON)


def _nothing() -> None:
    """Asks nothing."""


def _finite(values: dict[str, object]) -> dict[str, object]:
    return {key: _finite_value(value) for key, value in values.items()}


def _finite_value(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite_value(item) for item in value]
    if isinstance(value, dict):
        return _finite(value)
    return value
