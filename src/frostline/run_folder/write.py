"""Appends records to the journal of a run folder: one JSON line each, flushed at once, never rewritten.

Records of one arm of one replicate have a file of their own, so that an arm's journal does not depend on which other
arms there are or in which order they ran; everything else is in `run.jsonl`. A run that goes on after it was stopped
cuts a file back to where its checkpoint was taken (`rewind`), and appends from there.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from frostline.errors import RunFolderError
from frostline.run_folder.folder import JOURNAL_FOLDER, RUN_FILE
from frostline.run_folder.read import read_lines
from frostline.run_folder.records import Record
from frostline.storage import flush_folder


@dataclass(frozen=True)
class JournalPosition:
    """A place between two lines of one file of the journal."""

    lines: int
    bytes: int
    sha256: str
    """Of everything before it."""


BEGINNING = JournalPosition(0, 0, hashlib.sha256().hexdigest())


class _OpenFile:
    """One file of the journal. What it holds already is read, so that appending goes on with the right number."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Unbuffered: nothing of a line that could not be written is left over to be written later.
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

    def __init__(self, run_folder: Path, variants: Sequence[str] = ()) -> None:
        """`variants` are the labels in their order, where an earlier process may have begun with one of them."""
        self.folder = run_folder / JOURNAL_FOLDER
        self.folder.mkdir(exist_ok=True)
        self._files: dict[str, _OpenFile] = {}
        self._variants = list(variants)

    def append(self, record: Record) -> None:
        """Write `record` and hand it to the operating system. Raises `OSError` when the disk is full."""
        values = _finite(asdict(record))
        self._write(self._file_name(record), {"kind": type(record).__name__, **values})

    def append_again(self, variant: str, seed: int, arm: str, line: Mapping[str, object]) -> None:
        """Write a line that another run's journal holds about such an arm. Raises `OSError` when the disk is full."""
        place = {"variant": variant, "seed": seed, "arm": arm}
        self._write(self.arm_file(variant, seed, arm), {**line, **place})

    def lines_of(self, variant: str, seed: int, arm: str) -> bytes:
        """What this journal holds about one arm of one replicate; nothing where it has not begun."""
        path = self.folder / self.arm_file(variant, seed, arm)
        return path.read_bytes() if path.exists() else b""

    def records_of(self, variant: str, seed: int, arm: str) -> list[dict[str, object]]:
        """The whole lines about one arm of one replicate. Raises `RunFolderError` where one is damaged."""
        return read_lines(self.folder.parent, self.arm_file(variant, seed, arm))[0]

    def position(self, variant: str, seed: int, arm: str) -> JournalPosition:
        """The end of what is written about one arm of one replicate."""
        return self._open(self.arm_file(variant, seed, arm)).position

    def rewind(self, variant: str, seed: int, arm: str, position: JournalPosition) -> None:
        """Forget what was written about the arm after `position`; a torn last line goes with it.

        Raises `RunFolderError` where the file is not what it was at `position`; then nothing is changed.
        """
        name = self.arm_file(variant, seed, arm)
        path = self.folder / name
        self._close(name)
        content = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(content[: position.bytes]).hexdigest() != position.sha256:
            raise RunFolderError(f"{path}: its first {position.bytes:,} bytes are not what was written there.")
        if len(content) > position.bytes:
            os.truncate(path, position.bytes)

    def cut_run_file(self, bytes_kept: int) -> None:
        """Keep the first `bytes_kept` bytes of the run's own file: what a process that stopped wrote last goes."""
        self._close(RUN_FILE)
        if (self.folder / RUN_FILE).exists():
            os.truncate(self.folder / RUN_FILE, bytes_kept)

    def flush(self, variant: str, seed: int, arm: str) -> None:
        """Flush what is written about the arm to the disk. Raises `OSError`."""
        os.fsync(self._open(self.arm_file(variant, seed, arm)).file.fileno())
        flush_folder(self.folder)

    def _write(self, name: str, values: Mapping[str, object]) -> None:
        file = self._open(name)
        line = {"sequence": file.lines, **{key: value for key, value in values.items() if key != "sequence"}}
        file.append((json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode())

    def _open(self, name: str) -> _OpenFile:
        if name not in self._files:
            self._files[name] = _OpenFile(self.folder / name)
        return self._files[name]

    def _close(self, name: str) -> None:
        if name in self._files:
            self._files.pop(name).file.close()

    def close(self) -> None:
        for name in list(self._files):
            self._close(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _file_name(self, record: Record) -> str:
        seed = getattr(record, "seed", None)
        arm = getattr(record, "arm", None)
        if seed is None or arm is None:
            return RUN_FILE
        return self.arm_file(getattr(record, "variant", ""), seed, arm)

    def arm_file(self, variant: str, seed: int, arm: str) -> str:
        """Name of the file that holds what is written about one arm of one replicate."""
        if variant not in self._variants:
            self._variants.append(variant)
        return f"variant{self._variants.index(variant)}-seed{seed}-{arm or 'untouched model'}.jsonl"


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
