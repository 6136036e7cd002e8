"""Ctrl+C and SIGTERM stop a run cleanly: at once, or after what must not be cut in two; a second one leaves at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

SIGNALS = (signal.SIGINT, signal.SIGTERM)
REMIND_SECONDS = 0.2
"""How soon `Stopped` is raised again where Python or a library has swallowed it, as Python does in a `__del__`."""
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
    """Raises `Stopped` at the first signal, but never in the middle of a `deferred` block.

    It is raised again, until it has left `listening` or `answer` was called: a destructor or a bare `except` of a
    library that was running when the signal came would otherwise have the last word.
    """

    def __init__(self, echo_seconds: float = 0.0) -> None:
        """Signals less than `echo_seconds` after the first one are the same wish, passed on by a launcher."""
        self._echo_seconds = echo_seconds
        self._received_at = 0.0
        self._deferring = 0
        self._received: int | None = None
        self._answered = False
        self._listening = False

    @property
    def exit_code(self) -> int | None:
        """Exit code of a process that a signal has asked to stop; None where none has."""
        return None if self._received is None else 128 + self._received

    @property
    def is_listening(self) -> bool:
        """Whether signals are handled here, so that SIGTERM saves and stops."""
        return self._listening

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals here until the block ends."""
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._on_reminder)
        unraisable_before, sys.unraisablehook = sys.unraisablehook, _without_stopped(sys.unraisablehook)
        self._listening = True
        try:
            yield
        finally:
            self._listening = False
            if self._received is not None:
                signal.setitimer(signal.ITIMER_REAL, 0)
            sys.unraisablehook = unraisable_before
            for number, handler in before.items():
                signal.signal(number, handler)

    def ask(self, signal_number: int) -> None:
        """Another process was asked to stop by this signal, and this one is to stop with it."""
        if self._received is None:
            self._received, self._received_at = signal_number, time.monotonic()
            if self._listening:
                signal.setitimer(signal.ITIMER_REAL, REMIND_SECONDS, REMIND_SECONDS)

    def answer(self) -> None:
        """`Stopped` has reached the code that ends the run; what it still does is not disturbed."""
        self._answered = True

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A block that a first signal lets finish; `Stopped` is raised at its end. May be nested."""
        self._deferring += 1
        try:
            yield
        finally:
            self._deferring -= 1
        self._raise_if_due()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None and time.monotonic() - self._received_at < self._echo_seconds:
            return
        if self._received is not None:
            # The second one: whoever sent it does not want to wait. Checkpoints are whole or not there.
            if sys.stderr.isatty():
                os.write(sys.stderr.fileno(), SHOW_CURSOR)
            os._exit(128 + number)
        self._received, self._received_at = number, time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, REMIND_SECONDS, REMIND_SECONDS)
        self._raise_if_due()

    def _on_reminder(self, number: int, frame: FrameType | None) -> None:
        self._raise_if_due()

    def _raise_if_due(self) -> None:
        due = self._received is not None and not self._answered and not self._deferring
        if due and not _is_being_handled(sys.exception()):
            assert self._received is not None
            raise Stopped(self._received)


def _is_being_handled(error: BaseException | None) -> bool:
    """Whether `error`, which is being handled now, is `Stopped` or came of it."""
    while error is not None and not isinstance(error, Stopped):
        error = error.__cause__ or error.__context__
    return error is not None


def _without_stopped(hook: Callable[[UnraisableHookArgs], object]) -> Callable[[UnraisableHookArgs], object]:
    """`hook`, which prints what a destructor raised, silent about `Stopped`: it will be raised again."""

    def quiet_hook(unraisable: UnraisableHookArgs) -> None:
        if not isinstance(unraisable.exc_value, Stopped):
            hook(unraisable)

    return quiet_hook
