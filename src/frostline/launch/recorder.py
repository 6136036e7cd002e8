"""The journal as a run sees it: never interrupted in the middle of a line, a full disk told in a sentence."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from frostline.errors import RunFolderError
from frostline.journal import Journal, Record
from frostline.launch.interruption import Interruption

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True)
class Recorder:
    """Appends to the journal with Ctrl+C held back. Raises `RunFolderError` when the disk is full."""

    journal: Journal
    interruption: Interruption

    def append(self, record: Record) -> None:
        self._write(lambda: self.journal.append(record))

    def append_again(self, variant: str, seed: int, arm: str, line: Mapping[str, object]) -> None:
        """See `Journal.append_again`."""
        self._write(lambda: self.journal.append_again(variant, seed, arm, line))

    def _write(self, write: Callable[[], None]) -> None:
        with self.interruption.deferred():
            try:
                write()
            except OSError as error:
                raise no_space(error) from error


def no_space(error: OSError) -> Exception:
    """A sentence for a full disk; any other `error` as it is."""
    if error.errno not in NO_SPACE:
        return error
    where = f" while writing {error.filename}" if error.filename else ""
    return RunFolderError(
        f"no space is left on the disk{where}; the run stopped and its journal up to here is kept.",
        "Free some space, or write to another disk with --out.",
    )
