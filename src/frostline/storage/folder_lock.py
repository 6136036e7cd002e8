"""Who may write into a folder? Whoever holds its lock, which is the kernel's: it ends with its process, in any case."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.platform != "win32":
    import fcntl

LOCK_FILE = "lock"


def take_lock(folder: Path) -> int | None:
    """Descriptor of the lock on `folder`, which is made if missing; None if another holds it.

    Released by closing it, at the latest when the process ends. Raises `OSError` where no lock can be had, such as on
    a disk that cannot be written to.
    """
    while True:
        if folder.is_symlink():
            raise OSError(f"{folder} is a symbolic link")
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            if not lock_file(lock):
                os.close(lock)
                return None
            if _still_there(lock, folder / LOCK_FILE):
                return lock
        except OSError:
            os.close(lock)
            raise
        os.close(lock)


def lock_file(descriptor: int) -> bool:
    """Whether the lock could be had without waiting. Where the system has no such locks, it always can."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _still_there(lock: int, path: Path) -> bool:
    """Whether the locked file is the one at `path`: between opening and locking, another may have removed it."""
    try:
        return os.path.samestat(os.fstat(lock), path.lstat())
    except FileNotFoundError:
        return False
