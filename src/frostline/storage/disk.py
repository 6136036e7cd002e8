"""Is there room on the disk? Asked before something large is written, so that a run stops while it still can."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from frostline.errors import RunFolderError

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def require_room(folder: Path, bytes_needed: int, what: str) -> None:
    """Raise `RunFolderError` unless the disk below `folder`, which need not exist yet, has room for `bytes_needed`."""
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < bytes_needed:
        raise RunFolderError(
            f"{folder}: {what} needs {bytes_needed:,} bytes, and the disk has {free:,} left.",
            "Free some space and go on with 'frostline resume'; or keep fewer checkpoints with "
            "--set checkpoints.keep=1, or write to another disk with --out.",
        )


def disk_trouble(error: OSError, folder: Path, bytes_needed: int | None = None) -> RunFolderError:
    """What the disk said while something was written into `folder`, as one sentence."""
    if error.errno in NO_SPACE:
        needed = f"; {bytes_needed:,} bytes are needed" if bytes_needed is not None else ""
        return RunFolderError(
            f"{folder}: no space is left on the disk{needed}. What was saved is kept.",
            "Free some space, then go on: a run with 'frostline resume', an advice with the same command.",
        )
    return RunFolderError(
        f"{folder}: cannot be written ({error.strerror or error}). What was saved is kept.",
        "Fix it, then go on: a run with 'frostline resume', an advice with the same command.",
    )
