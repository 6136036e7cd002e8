"""Ctrl+C and SIGTERM stop a run cleanly: at once, or after what must not be cut in two; a second one leaves at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHOW_CURSOR = b"\x1b[?25h"
"""A progress bar hides it."""


class Stopped(KeyboardInterrupt):  # no error: someone asked for it
    """The run was asked to stop; `signal_number` says how. Passes every `except Exception`, as Ctrl+C does."""

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """130 after Ctrl+C, 143 after SIGTERM: 128 and the signal's number, as shells have it."""
        return 128 + self.signal_number


class Interruption:
    """Raises `Stopped` at the first signal, but never in the middle of a `deferred` block."""

    def __init__(self) -> None:
        self._deferring = 0
        self._received: int | None = None
        self._pending = False

    @property
    def exit_code(self) -> int | None:
        """Of a process that a signal has asked to stop; None where none has."""
        return None if self._received is None else 128 + self._received

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals here until the block ends."""
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A block that a first signal lets finish; `Stopped` is raised at its end. May be nested."""
        self._deferring += 1
        try:
            yield
        finally:
            self._deferring -= 1
        if self._pending and not self._deferring:
            self._pending = False
            assert self._received is not None
            raise Stopped(self._received)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            # The second one: whoever sent it does not want to wait. Checkpoints are whole or not there.
            if sys.stderr.isatty():
                os.write(sys.stderr.fileno(), SHOW_CURSOR)
            os._exit(128 + number)
        self._received = number
        if self._deferring:
            self._pending = True
            return
        raise Stopped(number)
