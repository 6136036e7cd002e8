"""Who may write into a folder? Whoever holds its lock, which is the kernel's: it ends with its process, in any case."""

from __future__ import annotations

from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

LOCK_FILE = "lock"


def take_lock(folder: Path) -> BaseFileLock | None:
    """The lock on `folder`, which is made if missing; None if another process or thread holds it.

    Given back by `release()`, at the latest when the process ends. Raises `OSError` where no lock can be had, such as
    on a disk that cannot be written to, or where `folder` or its lock is a symbolic link.
    """
    while True:
        if folder.is_symlink():
            raise OSError(f"{folder} is a symbolic link")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / LOCK_FILE
        # Threads of one process are told apart, and a file system without locks is an error: a file that merely
        # exists would outlive its process.
        lock = FileLock(path, blocking=False, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            if path.is_symlink():
                raise OSError(f"{path} is a symbolic link") from None
            if path.exists():
                return None
            continue  # whoever held it has just removed it
        return lock


def is_locked(folder: Path) -> bool:
    """Whether another process or thread holds the lock on `folder`, or it cannot be told; nothing is made there."""
    if not (folder / LOCK_FILE).exists():
        return False
    try:
        lock = take_lock(folder)
    except OSError:
        return True
    if lock is None:
        return True
    lock.release()
    return False
