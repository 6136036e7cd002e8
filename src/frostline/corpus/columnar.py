"""What are the rows of parquet and arrow files? Those that polars reads, batch by batch, with lists and structs.

A categorical column is text as any other. Arrow files come in two kinds: with a footer (feather), and as a stream,
which is what `datasets` writes by `save_to_disk`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from frostline.corpus.files import SourceFile
from frostline.corpus.places import shown
from frostline.corpus.rows import Row, missing_column
from frostline.errors import CorpusError

_BATCH_ROWS = 256
_DAMAGED = (pl.exceptions.PolarsError, pl.exceptions.PanicException)


def read_columnar(file: SourceFile, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a parquet or arrow file. Raises `CorpusError` if it is damaged or lacks a column."""
    name = shown(file.path)
    try:
        frame = _scan(file)
        names = frame.collect_schema().names()
        for column in columns:
            if column not in names:
                raise missing_column(name, column, names)
        total = int(frame.select(pl.len()).collect().item())
        if not columns:
            for number in range(1, total + 1):
                yield Row((), f"{name[1:-1]}, row {number:,}", file.bytes * number // total)
            return
        number = 0
        for batch in frame.select(columns).collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True):
            for values in batch.iter_rows():
                number += 1
                yield Row(values, f"{name[1:-1]}, row {number:,}", file.bytes * number // total)
    except _DAMAGED as error:
        raise _unreadable(file, error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise _unreadable(file, error) from error  # of a cut stream, polars says so


def columnar_names(file: SourceFile) -> tuple[str, ...]:
    """The columns of the schema."""
    try:
        return tuple(_scan(file).collect_schema().names())
    except _DAMAGED as error:
        raise _unreadable(file, error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise _unreadable(file, error) from error  # of a cut stream, polars says so


def _scan(file: SourceFile) -> pl.LazyFrame:
    if file.format == "parquet":
        return pl.scan_parquet(file.path, glob=False, hive_partitioning=False, low_memory=True)
    with file.path.open("rb") as start:
        has_footer = start.read(6) == b"ARROW1"
    if has_footer:
        return pl.scan_ipc(file.path, glob=False, hive_partitioning=False)
    return pl.read_ipc_stream(file.path).lazy()


def _unreadable(file: SourceFile, error: BaseException) -> CorpusError:
    reason = " ".join(str(error).split())[:120].rstrip(".")
    return CorpusError(
        f"{shown(file.path)} cannot be read as {file.format}: {reason}.",
        "Is it complete, and does 'format' say what it is?",
    )
