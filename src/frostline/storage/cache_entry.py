"""What is kept in the cache folder? Entries: sealed folders (see `sealed`), built again when damaged or foreign."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from frostline.errors import CacheError
from frostline.storage.sealed import Facts, SealBrokenError, Sealed, open_sealed, seal

_ATTEMPTS = 3
"""Another process may make room for its own entries before what was just written is opened."""


def cached_entry(parent: Path, key: str, write: Callable[[Path], Facts]) -> Sealed:
    """The entry `key` below `parent`, written by `write(folder)` unless it is there and whole.

    `write` fills the empty folder that it is given and returns what is worth knowing about it. Raises `CacheError`
    when the cache folder cannot be written or is full; then nothing is left of the attempt.
    """
    for _ in range(_ATTEMPTS):
        present = open_entry(parent, key)
        if present is not None:
            return present
        try:
            seal(parent, key, write)
        except OSError as error:
            raise cache_trouble(error, parent) from error
    built = open_entry(parent, key)
    if built is None:
        raise CacheError(f"the cache folder '{parent}' does not keep what is written to it.")
    return built


def open_entry(parent: Path, key: str) -> Sealed | None:
    """The entry if it is there and every byte is as it was written, else None."""
    try:
        return open_sealed(parent, key)
    except SealBrokenError:
        return None


def cache_trouble(error: OSError, folder: Path, bytes_needed: int | None = None) -> CacheError:
    """What went wrong in the cache folder, as one sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        needed = f": about {bytes_needed:,} bytes are needed" if bytes_needed else ""
        return CacheError(
            f"no space left in the cache folder '{folder}'{needed}.",
            "Free some, or move the cache with the variable FROSTLINE_CACHE.",
        )
    return CacheError(
        f"the cache folder '{folder}' cannot be used: {(error.strerror or str(error)).lower()}.",
        "Choose another with the variable FROSTLINE_CACHE.",
    )
