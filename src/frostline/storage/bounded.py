"""How large may a folder of cache entries grow? To a tenth of the disk; the least recently used go, none in use.

Whoever reads an entry holds a shared lock of the kernel on its manifest, which ends with its process in any case.
Entries alone are removed, whole, and no symbolic link is followed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from frostline.storage.cache_entry import cached_entry
from frostline.storage.sealed import SEAL_FILE, Facts, Sealed, remove_whole

SHARE_OF_DISK = 10
"""Entries of one folder take at most one in so many of the bytes that were free without them."""
_ENTRY = re.compile(r"[0-9a-f]{64}")


class EntryInUse:
    """Keeps an entry from being removed for as long as it lives."""

    def __init__(self, handle: int) -> None:
        self._end = weakref.finalize(self, os.close, handle)

    def release(self) -> None:
        """The entry is not read any more."""
        self._end()


def bounded_entry(
    parent: Path, key: str, write: Callable[[Path], Facts], *, bound_bytes: int | None = None
) -> tuple[Sealed, EntryInUse | None]:
    """As `cached_entry`, and what keeps the entry from being removed (None on a disk without locks).

    Others make way when the folder holds more than `bound_bytes`, unless given a tenth of the disk.
    """
    while True:
        use = _take_use(parent / key)
        entry = cached_entry(parent, key, write)
        use = use if use is not None and _is_of(use[1], parent / key) else _take_use(parent / key)
        if use is not None or not _was_removed(parent / key):
            break
    with suppress(OSError):
        os.utime(parent / key)
    with suppress(OSError):
        make_room_for(parent, key, default_bound(parent) if bound_bytes is None else bound_bytes)
    return entry, None if use is None else use[0]


def default_bound(parent: Path) -> int:
    """A tenth of what would be free on the disk without the entries of `parent`. Raises `OSError`."""
    return (shutil.disk_usage(parent).free + sum(entry_bytes(parent).values())) // SHARE_OF_DISK


def make_room_for(parent: Path, key: str, bound_bytes: int) -> None:
    """Remove the least recently used entries besides `key` until the rest holds at most `bound_bytes`, if it can."""
    sizes = entry_bytes(parent)
    total = sum(sizes.values())
    for folder in sorted(sizes, key=used_at):
        if total <= bound_bytes:
            return
        with _nobody_at(folder) as free, suppress(OSError):
            if free and folder.name != key:
                remove_whole(folder)
                total -= sizes[folder]


def entry_bytes(parent: Path) -> dict[Path, int]:
    """Bytes of each entry of `parent`, by its folder."""
    found = {}
    with suppress(OSError), os.scandir(parent) as children:
        for child in children:
            if _ENTRY.fullmatch(child.name) and child.is_dir(follow_symlinks=False):
                with suppress(OSError), os.scandir(child.path) as files:
                    found[Path(child.path)] = sum(file.stat(follow_symlinks=False).st_size for file in files)
    return found


def used_at(folder: Path) -> float:
    """When the entry `folder` was last used, by the clock of whoever used it."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _take_use(folder: Path) -> tuple[EntryInUse, int] | None:
    """A shared lock on the entry's manifest, and the manifest's number on the disk; None if it cannot be had."""
    handle = _locked(folder, fcntl.LOCK_SH)
    if handle is None:
        return None
    number = os.fstat(handle).st_ino
    return EntryInUse(handle), number


def _is_of(number: int, folder: Path) -> bool:
    """Whether the manifest of this number is that of `folder`: nobody has put another in its place."""
    try:
        return (folder / SEAL_FILE).stat().st_ino == number
    except OSError:
        return False


def _was_removed(folder: Path) -> bool:
    return not (folder / SEAL_FILE).exists()


@contextmanager
def _nobody_at(folder: Path) -> Iterator[bool]:
    """Whether nobody reads the entry, and that can be told; then nobody begins to in the block.

    One without a manifest is half removed.
    """
    handle = _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield handle is not None or _was_removed(folder)
    finally:
        if handle is not None:
            os.close(handle)


def _locked(folder: Path, kind: int) -> int | None:
    """The manifest, opened and locked; None if it is not there, another lock is in the way, or there are no locks."""
    try:
        handle = os.open(folder / SEAL_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, kind)
    except OSError:
        os.close(handle)
        return None
    return handle
