"""Operations on the disk that fail, or end the process, at a chosen one: a write, a flush, a rename, a removal."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

OPERATIONS = ("open", "write", "fsync", "rename", "unlink", "rmdir", "mkdir")
KILLED = 77
"""Exit status of a process that was ended in the middle of an operation."""


class DiskFaults:
    """Counts the operations on the disk, and lets the one numbered `at` (from 0) fail or end the process."""

    def __init__(self, at: int | None = None, *, kill: bool = False) -> None:
        self.at = at
        self.kill = kill
        self.seen: list[str] = []

    @contextmanager
    def active(self) -> Iterator[None]:
        """Until the block ends."""
        with pytest.MonkeyPatch.context() as patch:
            for name in OPERATIONS:
                patch.setattr(os, name, self._guarded(name, getattr(os, name)))
            yield

    def _guarded(self, name: str, original: Callable[..., object]) -> Callable[..., object]:
        def operation(*arguments: object, **named: object) -> object:
            number = len(self.seen)
            self.seen.append(name)
            if number == self.at:
                if self.kill:
                    if name == "write":  # half of it arrives
                        handle, content = arguments
                        assert isinstance(content, memoryview)
                        original(handle, content[: len(content) // 2])
                    os._exit(KILLED)
                raise OSError(errno.EIO, "Input/output error")
            return original(*arguments, **named)

        return operation


def killed_at(number: int, work: Callable[[], None]) -> bool:
    """Do `work` in a process of its own that is killed at operation `number`; whether it came to that."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            with DiskFaults(number, kill=True).active():
                work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED), code
    return code == KILLED
