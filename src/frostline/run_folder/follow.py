"""What is new in a journal that another process may be writing? Its lines as they come, each of them once.

A run that goes on after it was stopped cuts files back to its last checkpoint and writes from there
(`ArmJournal.rewind`), so that what was read may not be there any more. Whoever follows is told so by a `CutBack`, and
then given what stands there instead:

    follower = JournalFollower(run_folder, kinds={"StepTaken", "ArmFinished"})
    while True:
        for change in follower.read_new():
            if isinstance(change, CutBack):
                forget(change.file, from_sequence=change.lines)
            else:
                take(change.file, change.sequence, change.values)
        time.sleep(1)

Nothing is locked, nothing is written, and no more is held than one line and a few places of each file: the writer does
not notice. `positions` is where it stands, to be kept by whoever goes on later in another process.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from frostline.errors import RunFolderError
from frostline.run_folder.folder import JOURNAL_FOLDER, RUN_FILE
from frostline.run_folder.records import RECORD_KINDS
from frostline.run_folder.write import BEGINNING, JournalPosition

MOST_MARKS = 64
"""Places of a file that are remembered, so that a file that was cut back need not be read anew from its beginning."""
BUFFER = 1 << 16
_HEAD = re.compile(rb'\{"sequence": ([0-9]+), "kind": "([A-Za-z]+)"[,}]')
"""What every line begins with, as `Journal` writes it: lines of other kinds are passed over without reading them."""


@dataclass(frozen=True)
class JournalLine:
    """One whole line."""

    file: str
    """Name of its file in the journal's folder: one for each arm of each replicate, and `run.jsonl`."""
    sequence: int
    """Number of the line in its file, counted from 0."""
    values: dict[str, object]
    """The record, its `kind` and `sequence` included."""


@dataclass(frozen=True)
class CutBack:
    """Of `file` the first `lines` lines are what was read; later ones are gone, and others may follow."""

    file: str
    lines: int


@dataclass
class _Followed:
    """One file, and how far it has been read."""

    position: JournalPosition
    digest: hashlib._Hash
    last: bytes = b""
    """The newest line that was read: where it stands no more, the file was cut back and has grown again."""
    marks: list[JournalPosition] = field(default_factory=lambda: [BEGINNING])
    every: int = 1
    """Lines between two marks."""

    def passed(self, line: bytes) -> None:
        self.digest.update(line)
        lines, end = self.position.lines + 1, self.position.bytes + len(line)
        self.position = JournalPosition(lines, end, "")  # the hash is taken where it is asked for
        self.last = line
        if lines % self.every == 0:
            self.marks.append(self.whole_position())
            if len(self.marks) > MOST_MARKS:
                self.marks, self.every = self.marks[::2], 2 * self.every

    def whole_position(self) -> JournalPosition:
        return JournalPosition(self.position.lines, self.position.bytes, self.digest.hexdigest())


class JournalFollower:
    """Reads what is new in the journal of `run_folder`, which may not be there yet. For one thread at a time."""

    def __init__(
        self,
        run_folder: Path,
        *,
        kinds: Set[str] | None = None,
        positions: Mapping[str, JournalPosition] | None = None,
    ) -> None:
        """`kinds` are the names of the records that are wanted (None: all); `positions` where an earlier one stood.

        What was written before such a position is checked against its hash when it is first read on.
        """
        self.folder = run_folder / JOURNAL_FOLDER
        self._kinds = kinds
        self._files: dict[str, _Followed] = {}
        self._earlier = dict(positions or {})

    def read_anew(self, file: str) -> None:
        """Give all lines of `file` again, from its first one on, without a `CutBack`."""
        self._files.pop(file, None)
        self._earlier.pop(file, None)

    @property
    def positions(self) -> dict[str, JournalPosition]:
        """By name of file, how far it has been read."""
        return self._earlier | {name: followed.whole_position() for name, followed in self._files.items()}

    def read_new(self, most: int | None = None) -> Iterator[JournalLine | CutBack]:
        """What is new, `run.jsonl` first and then by name of file, in the order of its lines; no more than `most`.

        A last line without its end is left for the next time. Raises `RunFolderError` with file and line where one is
        damaged, and then again. Links are not followed.
        """
        given = 0
        for name in self._names():
            for change in self._read_file(name):
                yield change
                given += 1
                if given == most:
                    return

    def _names(self) -> list[str]:
        names: list[str] = []
        with suppress(FileNotFoundError, NotADirectoryError):
            if not self.folder.is_symlink():
                names = [entry.name for entry in os.scandir(self.folder) if entry.name.endswith(".jsonl")]
        # Files that are gone belong to it, too: they were cut back to nothing.
        return sorted({*names, *self._files, *self._earlier}, key=lambda name: (name != RUN_FILE, name))

    def _read_file(self, name: str) -> Iterator[JournalLine | CutBack]:
        file = _open_plain(self.folder / name)
        if file is None:
            followed = self._files.pop(name, None)
            known = self._earlier.pop(name, None) if followed is None else followed.position
            if known is not None and known.lines:
                yield CutBack(name, 0)
            return
        with file:
            yield from self._taken_up(name, file)
            followed = self._files.setdefault(name, _Followed(BEGINNING, hashlib.sha256()))
            if not _still_ends_so(file, followed):
                yield CutBack(name, self._go_back(followed, file))
            file.seek(followed.position.bytes)
            while (line := file.readline()).endswith(b"\n"):
                try:
                    values = self._values(name, followed.position.lines, line)
                except RunFolderError:
                    if _still_ends_so(file, followed):
                        raise
                    return  # it was cut back meanwhile: the next look finds where
                followed.passed(line)
                if values is not None:
                    yield JournalLine(name, followed.position.lines - 1, values)

    def _taken_up(self, name: str, file: BinaryIO) -> Iterator[CutBack]:
        """Go on where an earlier follower stood, if the file still is what it was there."""
        earlier = self._earlier.pop(name, None)
        if earlier is None or name in self._files:
            return
        followed = _Followed(BEGINNING, hashlib.sha256())
        for line in _lines(file, earlier.bytes):
            followed.passed(line)
        if followed.whole_position() == earlier:
            self._files[name] = followed
        elif earlier.lines:
            yield CutBack(name, 0)

    def _go_back(self, followed: _Followed, file: BinaryIO) -> int:
        """Go back to the newest mark before which the file is what it was, and say how many lines that keeps."""
        digest, kept, position = hashlib.sha256(), [BEGINNING], 0
        state, last = digest.copy(), b""
        file.seek(0)
        for mark in followed.marks[1:]:
            before = b""
            while position < mark.bytes and (line := file.readline()):
                digest.update(line)
                position, before = position + len(line), line
            if position != mark.bytes or digest.hexdigest() != mark.sha256:
                break
            kept.append(mark)
            state, last = digest.copy(), before
        followed.marks, followed.position, followed.digest, followed.last = kept, kept[-1], state, last
        return kept[-1].lines

    def _values(self, name: str, index: int, line: bytes) -> dict[str, object] | None:
        """The line as a mapping; None where its kind is not wanted."""
        head = _HEAD.match(line)
        if head is not None and self._kinds is not None and head[2].decode() not in self._kinds:
            kind, sequence = head[2].decode(), int(head[1])
            values: object = {"kind": kind, "sequence": sequence}
        else:
            try:
                values = json.loads(line)
            except ValueError as error:
                raise RunFolderError(f"{self.folder / name}:{index + 1}: not a journal line ({error}).") from error
        if not isinstance(values, dict) or values.get("sequence") != index or values.get("kind") not in RECORD_KINDS:
            raise RunFolderError(f"{self.folder / name}:{index + 1}: not the journal line expected here ({index}).")
        wanted = self._kinds is None or values["kind"] in self._kinds
        return values if wanted else None


def _still_ends_so(file: BinaryIO, followed: _Followed) -> bool:
    """Whether the newest line that was read stands where it stood."""
    file.seek(max(0, followed.position.bytes - len(followed.last)))
    return file.read(len(followed.last)) == followed.last


def _lines(file: BinaryIO, bytes_read: int) -> Iterator[bytes]:
    """The lines of the first bytes of `file`."""
    file.seek(0)
    position = 0
    while position < bytes_read and (line := file.readline()):
        position += len(line)
        yield line


def _open_plain(path: Path) -> BinaryIO | None:
    """The file, to be read; None where there is none, or something else: a link, a pipe, a folder."""
    with suppress(OSError):
        if stat.S_ISREG(path.lstat().st_mode):
            return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", BUFFER)
    return None
