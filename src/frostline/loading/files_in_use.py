"""Are the files of a loaded model still what was loaded? They are mapped: what is written into them is in the model.

Where another file is put in the place of one (renamed over it, as nearly every program does), who has it open goes on
with the former: nothing happens. What is written into the file itself changes weights under the run, and of a file
that was cut, reading what is gone ends the process (a bus error, which no program can answer). So each file is held
open, and its size and the time of its last change are asked for before anything is kept that was computed from it.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

from transformers import PreTrainedModel

from frostline.errors import ModelChangedError

_Known = tuple[int, int]
"""Size in bytes, and when the content changed last, in ns."""


@dataclass(frozen=True, eq=False)
class FilesInUse:
    """The weight files of one model, held open while it is in use."""

    opened: Mapping[Path, tuple[int, _Known]]
    """Descriptor of each file, and what was known of it before the model was loaded."""
    shown: str
    """What errors call the model."""

    def require_unchanged(self) -> None:
        """Raise `ModelChangedError` where something was written into one of the files, or cut off."""
        for path, (descriptor, known) in self.opened.items():
            if _known(os.fstat(descriptor)) != known:
                raise ModelChangedError(
                    f"'{self.shown}', {path.name}: it was written into while the run was reading it; nothing that was "
                    "computed since then is kept.",
                    "Bring back what there was and go on with 'frostline resume', or begin anew.",
                )

    @property
    def changed_or_replaced(self) -> str:
        """Name of a file that whoever loads the model now would find other than it was; '' where there is none."""
        for path, (descriptor, known) in self.opened.items():
            same = False
            with suppress(OSError):
                same = os.path.samestat(path.stat(), os.fstat(descriptor)) and _known(path.stat()) == known
            if not same:
                return path.name
        return ""


def hold_open(paths: Iterable[Path], shown: str) -> FilesInUse:
    """The files at `paths`, opened before they are loaded; open as long as what comes back lives. Raises `OSError`."""
    opened: dict[Path, tuple[int, _Known]] = {}
    files = FilesInUse(opened, shown)
    for path in sorted(set(paths)):
        descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(files, os.close, descriptor)
        opened[path] = (descriptor, _known(os.fstat(descriptor)))
    return files


_FILES: WeakKeyDictionary[PreTrainedModel, FilesInUse] = WeakKeyDictionary()
"""The files of each model that is in use."""


def remember_files(model: PreTrainedModel, files: FilesInUse) -> None:
    """Keep `files` open as long as `model` lives."""
    _FILES[model] = files


def files_of(model: PreTrainedModel) -> FilesInUse:
    """The files that `model` was loaded from; none where it was made in memory."""
    return _FILES.get(model) or FilesInUse({}, "")


def _known(status: os.stat_result) -> _Known:
    return status.st_size, status.st_mtime_ns
