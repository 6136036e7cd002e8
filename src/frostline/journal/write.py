"""Appends records to the journal of a run folder: one JSON line each, flushed at once, never rewritten.

Records of one arm of one replicate have a file of their own, so that an arm's journal does not depend on which other
arms there are or in which order they ran; everything else is in `run.jsonl`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from frostline.journal.records import Record

RUN_FILE = "run.jsonl"


class Journal:
    """The append-only record of a run. Not for several writers."""

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder / "journal"
        self._folder.mkdir(exist_ok=True)
        self._files: dict[str, FileIO] = {}
        self._next_sequence: dict[str, int] = {}
        self._variants: list[str] = []

    def append(self, record: Record) -> None:
        """Write `record` and hand it to the operating system. Raises `OSError` when the disk is full."""
        values = _finite(asdict(record))
        self._write(self._file_name(record), {"kind": type(record).__name__, **values})

    def append_again(self, variant: str, seed: int, arm: str, line: Mapping[str, object]) -> None:
        """Write a line that another run's journal holds about such an arm. Raises `OSError` when the disk is full."""
        place = {"variant": variant, "seed": seed, "arm": arm}
        self._write(self._arm_file(variant, seed, arm), {**line, **place})

    def lines_of(self, variant: str, seed: int, arm: str) -> bytes:
        """What this journal holds about one arm of one replicate; nothing where it has not begun."""
        path = self._folder / self._arm_file(variant, seed, arm)
        return path.read_bytes() if path.exists() else b""

    def _write(self, name: str, values: Mapping[str, object]) -> None:
        if name not in self._files:
            # Unbuffered: nothing of a line that could not be written is left over to be written later.
            self._files[name] = (self._folder / name).open("ab", buffering=0)
        sequence = self._next_sequence.get(name, 0)
        line = {"sequence": sequence, **{key: value for key, value in values.items() if key != "sequence"}}
        unwritten = memoryview((json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode())
        while unwritten:
            unwritten = unwritten[self._files[name].write(unwritten) :]
        self._next_sequence[name] = sequence + 1

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

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
        return self._arm_file(getattr(record, "variant", ""), seed, arm)

    def _arm_file(self, variant: str, seed: int, arm: str) -> str:
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
