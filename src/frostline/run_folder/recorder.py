"""The journal as a run sees it: never interrupted in the middle of a line, trouble with the disk told in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from frostline.interruption import Interruption
from frostline.run_folder.records import Record
from frostline.run_folder.write import Journal, JournalPosition
from frostline.storage import disk_trouble


@dataclass(frozen=True)
class Recorder:
    """Appends to the journal with signals held back. Raises `RunFolderError` when the disk does not take it."""

    journal: Journal
    interruption: Interruption

    def append(self, record: Record) -> None:
        self._write(lambda: self.journal.append(record))

    def append_again(self, variant: str, seed: int, arm: str, line: Mapping[str, object]) -> None:
        """See `Journal.append_again`."""
        self._write(lambda: self.journal.append_again(variant, seed, arm, line))

    def rewind(self, variant: str, seed: int, arm: str, position: JournalPosition) -> None:
        """See `Journal.rewind`."""
        self._write(lambda: self.journal.rewind(variant, seed, arm, position))

    def flush(self, variant: str, seed: int, arm: str) -> None:
        """See `Journal.flush`."""
        self._write(lambda: self.journal.flush(variant, seed, arm))

    def _write(self, write: Callable[[], None]) -> None:
        with self.interruption.deferred():
            try:
                write()
            except OSError as error:
                raise disk_trouble(error, Path(error.filename) if error.filename else self.journal.folder) from error
