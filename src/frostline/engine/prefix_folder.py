"""How do the rows of many models share one folder of bounded size? One folder each; the least recently used goes first.

Whoever writes to a model's folder holds its lock, and no locked folder is ever removed. Nothing else in the shared
folder is touched, and no symbolic link is followed.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from frostline.storage import LOCK_FILE, is_locked, take_lock

RESERVED_BYTES = 100_000_000
"""Bytes of the disk that are left free for others."""
_OWNED_FOLDER = re.compile(r"[0-9a-f]{32}")


def touch(folder: Path) -> None:
    """Mark `folder` as just used."""
    with suppress(OSError):
        os.utime(folder)


def make_room(root: Path, own: str, needed_bytes: int, bound_bytes: int) -> int:
    """Bytes left for `own` in `root`, after others made room for `needed_bytes` more, as far as they can.

    Negative if even then the folder as a whole is above its bound. Raises `OSError` where the disk cannot be asked.
    """
    others = [owned for owned in _owned_folders(root) if owned.path.name != own]
    total = sum(owned.bytes for owned in others) + bytes_in(root / own)
    for owned in sorted(others, key=lambda owned: owned.used_at):
        if total + needed_bytes <= bound_bytes:
            break
        _remove(owned.path)
        total -= owned.bytes - bytes_in(owned.path)
    return min(bound_bytes - total, shutil.disk_usage(root).free - RESERVED_BYTES)


def largest_share(root: Path, own: str, bound_bytes: int) -> int:
    """Bytes that `own` could have in `root` if all others that may go went; 0 where the disk cannot be asked."""
    try:
        free_bytes = max(0, shutil.disk_usage(root).free - RESERVED_BYTES)
    except OSError:
        return 0
    others = [owned for owned in _owned_folders(root) if owned.path.name != own]
    staying = sum(owned.bytes for owned in others if is_locked(owned.path))
    total = sum(owned.bytes for owned in others) + bytes_in(root / own)
    return max(0, min(bound_bytes, total + free_bytes) - staying)


def bytes_in(folder: Path) -> int:
    """Size of the files in `folder`; 0 where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except OSError:
        return 0


@dataclass(frozen=True)
class _Owned:
    path: Path
    bytes: int
    used_at: float


def _owned_folders(root: Path) -> list[_Owned]:
    found = []
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if _OWNED_FOLDER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                with suppress(OSError):
                    used_at = entry.stat(follow_symlinks=False).st_mtime
                    found.append(_Owned(Path(entry.path), bytes_in(Path(entry.path)), used_at))
    return found


def _remove(folder: Path) -> None:
    """Remove rows and lock of `folder`, and the folder if nothing else is in it; nothing at all if it is locked."""
    try:
        lock = take_lock(folder)
    except OSError:
        return
    if lock is None:
        return
    try:
        with suppress(OSError):
            for path in [*folder.glob("*.rows"), folder / LOCK_FILE]:
                path.unlink()
            folder.rmdir()
    finally:
        lock.release()
