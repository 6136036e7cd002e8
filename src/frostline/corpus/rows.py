"""What is a row of a table? The values of the wanted columns, with its place for errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frostline.errors import CorpusError, nearest

_LISTED_COLUMNS = 20


@dataclass(frozen=True)
class Row:
    """The wanted columns of one row, as JSON has them: a row of conversations holds lists and dictionaries."""

    values: tuple[object, ...]
    """None where the row has nothing in that column."""
    place: str
    """File and line, or file and row."""
    bytes_read: int
    """Bytes of the file read so far, as it lies on disk."""


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
            f"{place}: column '{column}' holds {kind_of(value)}, not text.", "Name a column of strings with 'column'."
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{place}: column '{column}' holds half a surrogate pair at character {error.start:,}.",
            "That is not valid Unicode.",
        ) from error
    return value


def kind_of(value: object) -> str:
    """What a value is, as JSON calls it."""
    if value is None:
        return "null"
    names = {bool: "true or false", int: "a number", float: "a number", str: "a string", bytes: "bytes"}
    names |= {list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}")
