"""How are the rows of jsonl, csv and parquet read? One after another, each with its place for errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from frostline.corpus.files import SourceFile, check_unchanged, separator_of, shown, unreachable
from frostline.errors import CorpusError, nearest

LARGEST_ROW_BYTES = 256 << 20
_BATCH_ROWS = 256
_LISTED_COLUMNS = 20


@dataclass(frozen=True)
class Row:
    """The wanted columns of one row, as JSON has them: a row of conversations holds lists and dictionaries."""

    values: tuple[object, ...]
    """None where the row has nothing in that column."""
    place: str
    """File and line, or file and row."""
    bytes_read: int
    """Bytes of the file read so far (estimated where the file is compressed)."""


def read_rows(file: SourceFile, columns: Sequence[str]) -> Iterator[Row]:
    """All rows of a jsonl, csv or parquet file. Raises `CorpusError` with the place of what is wrong."""
    try:
        yield from _read_jsonl(file, columns) if file.format == "jsonl" else _read_with_polars(file, columns)
    except OSError as error:
        raise unreachable(file.path, error) from error
    check_unchanged(file)


def column_names(file: SourceFile) -> tuple[str, ...]:
    """The columns of a table; of jsonl, the keys of its first row. Raises `CorpusError` as reading does."""
    if file.format == "jsonl":
        return _jsonl_names(file)
    try:
        return tuple(_scan(file).collect_schema().names())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise CorpusError(f"{shown(file.path)} cannot be read as {file.format}: {str(error)[:200]}") from error


def _jsonl_names(file: SourceFile) -> tuple[str, ...]:
    with file.path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                return tuple(_parse_object(line.removeprefix(b"\xef\xbb\xbf"), f"{file.path}:{number}"))
    return ()


def missing_column(place: str, column: str, available: Sequence[str]) -> CorpusError:
    """The error for a column that is not there: names the nearest, lists the others."""
    listed = ", ".join(f"'{name}'" for name in available[:_LISTED_COLUMNS])
    more = f" and {len(available) - _LISTED_COLUMNS} more" if len(available) > _LISTED_COLUMNS else ""
    close = nearest(column, available, count=1)
    return CorpusError(
        f"{place} has no column '{column}'.",
        f"{close} It has {listed}{more}.".lstrip() if available else "It has no columns at all.",
    )


def text_of(value: object, column: str, place: str) -> str | None:
    """`value` of a column as text; None for null. Raises `CorpusError` for anything that is not text."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise CorpusError(
            f"{place}: column '{column}' holds {_kind(value)}, not text.", "Name a column of strings with 'column'."
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{place}: column '{column}' holds half a surrogate pair at character {error.start:,}.",
            "That is not valid Unicode.",
        ) from error
    return value


def _read_jsonl(file: SourceFile, columns: Sequence[str]) -> Iterator[Row]:
    done = 0
    with file.path.open("rb") as lines:
        for number in range(1, 1 << 62):
            line = lines.readline(LARGEST_ROW_BYTES)
            if not line:
                return
            place = f"{shown(file.path)[1:-1]}:{number}"
            if len(line) == LARGEST_ROW_BYTES:
                raise CorpusError(f"{place}: the line is longer than {LARGEST_ROW_BYTES >> 20} MiB.", "Split the row.")
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            done = lines.tell()
            if line.strip():
                row = _parse_object(line, place)
                yield Row(tuple(_value(row, column, place) for column in columns), place, done)


def _parse_object(line: bytes, place: str) -> dict[str, object]:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise CorpusError(f"{place}: not UTF-8 (byte {error.start:,} of the line).", "Convert the file.") from error
    except RecursionError as error:
        raise CorpusError(f"{place}: nested too deep to be a row.") from error
    except ValueError as error:
        hint = "Each line is one JSON object; plain text wants 'format: text'."
        raise CorpusError(f"{place}: not valid JSON: {str(error).splitlines()[0]}.", hint) from error
    if not isinstance(row, dict):
        raise CorpusError(f"{place}: {_kind(row)}, not an object.", 'Each line is an object such as {"text": "..."}.')
    return row


def _value(row: dict[str, object], column: str, place: str) -> object:
    if column not in row:
        raise missing_column(place, column, list(row))
    return row[column]


def _read_with_polars(file: SourceFile, columns: Sequence[str]) -> Iterator[Row]:
    name = shown(file.path)
    try:
        frame = _scan(file)
        schema = frame.collect_schema()
        for column in columns:
            if column not in schema:
                raise missing_column(name, column, schema.names())
        total = _row_count(file, frame)
        number, text_bytes = 0, 0
        for batch in frame.select(columns).collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True):
            for values in batch.iter_rows():
                number += 1
                text_bytes += sum(len(value) for value in values if isinstance(value, str))
                done = file.bytes * number // total if total else min(text_bytes, file.bytes)
                yield Row(values, f"{name[1:-1]}, row {number:,}", done)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise CorpusError(
            f"{name} cannot be read as {file.format}: {reason}.", "Is it complete, and does 'format' say what it is?"
        ) from error


def _scan(file: SourceFile) -> pl.LazyFrame:
    if file.format == "parquet":
        return pl.scan_parquet(file.path, glob=False, hive_partitioning=False, low_memory=True)
    # Every column of a csv file is text: a model reads characters, not numbers.
    return pl.scan_csv(file.path, separator=separator_of(file.path), infer_schema=False, glob=False, low_memory=True)


def _row_count(file: SourceFile, frame: pl.LazyFrame) -> int:
    """Rows of a parquet file, which its footer tells; 0 for csv, where counting means reading."""
    return int(frame.select(pl.len()).collect().item()) if file.format == "parquet" else 0


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "true or false", int: "a number", float: "a number", str: "a string"}
    names |= {list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}")
