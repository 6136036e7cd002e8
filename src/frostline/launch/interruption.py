"""Ctrl+C stops a run cleanly: at once, or after the journal line that is just being written."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Takes the first Ctrl+C of a run as `KeyboardInterrupt`, but never in the middle of a `deferred` block."""

    def __init__(self) -> None:
        self._deferring = False
        self._pending = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle SIGINT here until the block ends."""
        before = signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A block that a first Ctrl+C lets finish; the interrupt is raised at its end."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._deferring and not self._pending:
            self._pending = True
            return
        raise KeyboardInterrupt
