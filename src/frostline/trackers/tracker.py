"""What is a tracker told? One run of its own for each arm of each replicate, in rows by step, and a table at the end.

A tracker takes rows in the order of their steps, each once, and says itself how far it has been told: what lies in it
is the truth, so that a process that is killed between telling and noting can neither tell twice nor leave a gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Status = Literal["finished", "failed", "interrupted"]
NOTHING = -1
"""The last step of a tracker run that has been told none."""


@dataclass(frozen=True)
class TrackedRun:
    """What becomes one run in a tracker: an arm of a replicate, or the verdicts of the whole experiment."""

    key: str
    """Unlike that of any other run of any experiment, and the same whenever it is told: 16 hexadecimal digits."""
    name: str
    """Such as `full-seed0`; one of its kind within its group."""
    project: str
    """The experiment's name, as far as a file may be called so."""
    group: str
    """One run of the experiment, such as `demo-20260801T093000-1f3a5c`; a file may be called so."""
    began: float
    """When that was, in seconds since 1970."""
    config: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Rows under named columns; None where a cell is empty."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | int | float | None]]


@dataclass(frozen=True)
class Row:
    """All that belongs to one step."""

    step: int
    """Steps done: losses are those of the weights after so many."""
    seconds: float
    """Of the steps of this arm before and with this one."""
    values: Mapping[str, float] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    """Markdown, by name."""
    tables: Mapping[str, Table] = field(default_factory=dict)
    """Beside their texts of the same names."""


class RunInTracker(Protocol):
    """One run that a tracker shows."""

    @property
    def told_until(self) -> int:
        """The last step that the tracker has of it, whoever told it; `NOTHING` if none."""

    def tell(self, rows: Sequence[Row]) -> None:
        """Take rows of steps after `told_until`, which ascend."""

    def end(self, status: Status) -> None:
        """Keep all that was told. Nothing follows, unless the run is opened again."""


class Tracker(Protocol):
    """Where one's runs are."""

    def open(self, run: TrackedRun) -> RunInTracker:
        """Begin `run`, or go on with it."""
