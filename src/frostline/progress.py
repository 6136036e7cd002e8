"""What does a run tell whoever watches it? A protocol: bars in a terminal, lines in a log, nothing in a library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True)
class UnitState:
    """How far a unit of an experiment is that runs on another machine."""

    title: str
    """Variant and seed."""
    doing: str = ""
    """What it is at, in a short sentence."""
    steps: int = 0
    """Steps that its arms have taken together."""
    steps_in_all: int = 0
    """Of how many; 0 while it is not known."""
    loss_nats: float | None = None
    """Loss of the newest step."""


class RunProgress(Protocol):
    """What a run tells whoever watches it."""

    def say(self, text: str) -> None:
        """A phase of the run, in a short sentence."""

    def reading(self, done: int, total: int) -> None:
        """Bytes of the corpus read so far."""

    def filling(self, done: int, total: int) -> None:
        """So many windows have passed a frozen layer, of those that each layer is to be run for before training."""

    def begin(self, title: str, steps: dict[str, int]) -> None:
        """Training begins, of these arms for so many steps."""

    def step(self, arm: str, step: int, loss_nats: float, tokens: int, seconds: float) -> None:
        """One arm has taken step `step`."""

    def units(self, done: int, total: int, running: Mapping[str, UnitState]) -> None:
        """So many units of the experiment are done, of all; these, by name, are at work on machines of a cluster."""

    def left(self, seconds: float) -> None:
        """The whole run, its report included, will take about so long from now on."""

    def end(self) -> None:
        """Training of these arms has ended."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class NoProgress:
    """Nobody watches: nothing is told. What tells less than everything begins here."""

    def say(self, text: str) -> None: ...

    def reading(self, done: int, total: int) -> None: ...

    def filling(self, done: int, total: int) -> None: ...

    def begin(self, title: str, steps: dict[str, int]) -> None: ...

    def step(self, arm: str, step: int, loss_nats: float, tokens: int, seconds: float) -> None: ...

    def units(self, done: int, total: int, running: Mapping[str, UnitState]) -> None: ...

    def left(self, seconds: float) -> None: ...

    def end(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
