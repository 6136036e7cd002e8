"""Reads a run folder's journal back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from pydantic import TypeAdapter

from frostline.errors import RunFolderError
from frostline.run_folder.folder import JOURNAL_FOLDER, require_run_folder
from frostline.run_folder.records import RECORD_KINDS, AnyRecord


def read_journal(run_folder: Path) -> list[dict[str, object]]:
    """Every line of the journal as a mapping, in the order of file name and sequence.

    A torn last line (the machine died while writing) is left out; a damaged line elsewhere, or a gap in the sequence,
    raises `RunFolderError` with file and line.
    """
    require_run_folder(run_folder)
    return [line for path in sorted((run_folder / JOURNAL_FOLDER).glob("*.jsonl")) for line, _ in _lines_of(path)]


def read_lines(run_folder: Path, name: str) -> tuple[list[dict[str, object]], list[int]]:
    """The lines of one file of the journal (see `read_journal`), and the byte after each; none where there is no file.

    A torn last line is left out.
    """
    path = run_folder / JOURNAL_FOLDER / name
    found = list(_lines_of(path)) if path.exists() else []
    return [line for line, _ in found], [end for _, end in found]


def _lines_of(path: Path) -> Iterator[tuple[dict[str, object], int]]:
    """Each line as a mapping, with the place of the byte after it."""
    end = 0
    for index, text in enumerate(path.read_bytes().splitlines(keepends=True)):
        end += len(text)
        try:
            line = json.loads(text)
        except ValueError as error:  # not JSON, or not UTF-8
            if not text.endswith(b"\n"):
                return  # torn by a crash
            raise RunFolderError(f"{path}:{index + 1}: not a journal line ({error}).") from error
        if not isinstance(line, dict) or line.get("sequence") != index or line.get("kind") not in RECORD_KINDS:
            raise RunFolderError(f"{path}:{index + 1}: not the journal line expected here (number {index}).")
        if not text.endswith(b"\n"):
            return
        yield line, end


def records_of(lines: list[dict[str, object]], kind: type[AnyRecord]) -> list[AnyRecord]:
    """The records of one kind as dataclasses; a number that was not finite (null in the journal) is NaN."""
    adapter = TypeAdapter(kind)
    numbers = [field.name for field in fields(kind) if field.type == "float"]
    series = [field.name for field in fields(kind) if field.type in ("list[float]", "list[list[float]]")]
    records = []
    for line in lines:
        if line["kind"] == kind.__name__:
            values = {key: value for key, value in line.items() if key not in ("sequence", "kind")}
            missing = {name: math.nan for name in numbers if values.get(name) is None}
            lists = {name: _with_nan(values[name]) for name in series if isinstance(values.get(name), list)}
            records.append(adapter.validate_python(values | missing | lists))
    return records


def _with_nan(values: object) -> object:
    """`values`, and the lists in them, with NaN in place of null."""
    if isinstance(values, list):
        return [_with_nan(value) for value in values]
    return math.nan if values is None else values
