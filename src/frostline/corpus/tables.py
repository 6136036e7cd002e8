"""How are the rows of a table read, whatever its format? One after another, each with its place for errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from frostline.corpus.columnar import columnar_names, read_columnar
from frostline.corpus.delimited import delimited_names, read_delimited
from frostline.corpus.files import SourceFile, check_unchanged
from frostline.corpus.json_rows import json_names, read_json, read_jsonl
from frostline.corpus.places import unreachable
from frostline.corpus.rows import Row, missing_column, text_of
from frostline.corpus.tally import Tally

__all__ = ["Row", "column_names", "missing_column", "read_rows", "text_of"]


def read_rows(file: SourceFile, columns: Sequence[str], tally: Tally | None = None) -> Iterator[Row]:
    """All rows of a file that is not plain text; what is remarkable goes into `tally`, which counts none of them.

    Raises `CorpusError` with the place of what is wrong.
    """
    tally = Tally() if tally is None else tally
    try:
        if file.format == "jsonl":
            yield from read_jsonl(file, columns)
        elif file.format == "json":
            yield from read_json(file, columns, tally)
        elif file.format == "csv":
            yield from read_delimited(file, columns, tally)
        else:
            yield from read_columnar(file, columns)
    except OSError as error:
        raise unreachable(file.path, error) from error
    check_unchanged(file)


def column_names(file: SourceFile) -> tuple[str, ...]:
    """The columns of a file that is not plain text; of json, the keys of its first row. Raises as `read_rows` does."""
    try:
        if file.format in ("jsonl", "json"):
            return json_names(file)
        if file.format == "csv":
            return delimited_names(file)
        return columnar_names(file)
    except OSError as error:
        raise unreachable(file.path, error) from error
