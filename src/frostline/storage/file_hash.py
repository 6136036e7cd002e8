"""What is the SHA-256 of a file? Asked often, and of large files: read once in a process while nobody touches it.

A file is known again by its place on the disk, its size, and the times of its last change; the kernel keeps the last
of these, which no program can set. A file that was changed just before it was read is not remembered, since a second
change within the clock's next tick would go unseen.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

SETTLED_SECONDS = 2.0
"""A file must have lain so long for its hash to be remembered."""

_known: dict[str, str] = {}
"""Hashes by what a file is known by."""


def file_sha256(path: Path) -> str:
    """SHA-256 of the file, as hexadecimal digits. Raises `OSError`."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        name = _name(status)
        if name not in _known:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if time.time() - status.st_ctime < SETTLED_SECONDS or _name(os.fstat(file.fileno())) != name:
                return sha256
            _known[name] = sha256
        return _known[name]


def known_hashes() -> dict[str, str]:
    """All that this process remembers, for another one on this machine."""
    return dict(_known)


def remember_hashes(known: Mapping[str, str]) -> None:
    """Take over what the process that started this one remembers."""
    _known.update(known)


def _name(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
