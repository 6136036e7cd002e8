"""How many rows were met, which were left out and why? Counted while a table is read, told wherever a corpus is.

A row is left out where it has nothing to read; whatever else is wrong with a row is an error. What is read but may
surprise (a row with fewer fields than the header, quotes that are text) is remarked on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

NO_TEXT, NO_PAIR = "without text", "without prompt or response"


@dataclass
class Tally:
    """The counts of one reading."""

    rows: int = 0
    """Rows met, those left out among them; 0 for plain text."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Rows left out, by reason."""
    remarks: dict[str, int] = field(default_factory=dict)
    """Rows that were read though something about them may surprise, by what it is; 0 for a remark on a whole file."""
    first: dict[str, str] = field(default_factory=dict)
    """Name of the file and line (or row) where each reason and remark was met first."""

    def row(self) -> None:
        """Count a row."""
        self.rows += 1

    def leave_out(self, reason: str, place: str) -> None:
        """Count the row at `place` as left out."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1
        self.first.setdefault(reason, PurePath(place).name)

    def remark(self, what: str, place: str, *, rows: int = 1) -> None:
        """Remark on the row at `place`, or with `rows=0` on the whole file from there on."""
        self.remarks[what] = self.remarks.get(what, 0) + rows
        self.first.setdefault(what, PurePath(place).name)


def told(tally: Tally) -> str:
    """What a reader of the terminal is told: `60 rows, 12 left out (12 without text, data.csv:5 first)`, or ''."""
    if not tally.rows:
        return ""
    rows = f"{tally.rows:,} row{'s' if tally.rows > 1 else ''}"
    return ", ".join([rows, *_left_out(tally.left_out, tally.first), *remarks_of(tally)])


def remarks_of(tally: Tally) -> tuple[str, ...]:
    """Each remark: `2 with fewer fields than the header (data.csv:5 first)`."""
    return tuple(
        f"{rows:,} {what} ({tally.first[what]} first)" if rows else f"{what} ({tally.first[what]})"
        for what, rows in tally.remarks.items()
    )


def _left_out(left_out: Mapping[str, int], first: Mapping[str, str]) -> list[str]:
    if not left_out:
        return []
    reasons = [
        f"{count:,} {reason}" + (f", {first[reason]} first" if reason in first else "")
        for reason, count in left_out.items()
    ]
    return [f"{sum(left_out.values()):,} left out ({'; '.join(reasons)})"]
