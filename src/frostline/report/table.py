"""What is a table on a page? Texts in rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    colours: tuple[str, ...] = ()
    """Colour of each row, which its first cell then heads; none where rows are of no arm or text."""
