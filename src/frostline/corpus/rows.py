"""What is a row of a table? The values of the wanted columns, with its place for errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frostline.errors import CorpusError, nearest

_LISTED_CHARACTERS = 90
_LONGEST_NAME = 40
WHICH_IS_READ = "Say which is read: 'column: NAME', or 'prompt: NAME' and 'response: NAME'."
"""The keys of a corpus that name columns."""


@dataclass(frozen=True)
class Row:
    """The wanted columns of one row, as JSON has them: a row of conversations holds lists and dictionaries."""

    values: tuple[object, ...]
    """None where the row has nothing in that column."""
    place: str
    """File and line, or file and row."""
    bytes_read: int
    """Bytes of the file read so far, as it lies on disk."""
    file: int = 0
    """Number of the file among those of the source, counted from 0."""


def missing_column(place: str, column: str, available: Sequence[str]) -> CorpusError:
    """The error for a column that is not there: names the nearest, lists the others, and how one is chosen."""
    message = f"{place} has no column '{column}'."
    if not available:
        return CorpusError(message, "It has no columns at all.")
    close = nearest(column, available, count=1)
    return CorpusError(message, f"{close} It has {listed(available)}. {WHICH_IS_READ}".lstrip())


def listed(names: Sequence[str]) -> str:
    """`names` in quotes, as many as a sentence holds, and how many more there are."""
    shown: list[str] = []
    characters = 0
    for name in names:
        shown.append(f"'{name[:_LONGEST_NAME]}'")
        characters += len(shown[-1])
        if characters > _LISTED_CHARACTERS:
            break
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


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
