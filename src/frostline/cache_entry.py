"""How is something kept in the cache folder so that it is whole or not there? Entries: a folder of files, sealed.

An entry is written beside its place under a temporary name, its facts (sizes and SHA-256 of its files) last, then
renamed. Opening one checks every byte; what is damaged, foreign or of an older format is built again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from frostline.errors import CacheError

ENTRY_VERSION = 1
FACTS_FILE = "facts.json"
_WRITING = ".writing-"

Facts = dict[str, int | str]


class _FileFacts(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    bytes: int
    sha256: str


class _EntryFacts(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    version: int
    key: str
    files: dict[str, _FileFacts]
    facts: Facts


@dataclass(frozen=True)
class Entry:
    """A checked entry of the cache."""

    folder: Path
    facts: Facts
    sha256: dict[str, str]
    """SHA-256 of each file by name."""


def cached_entry(parent: Path, key: str, write: Callable[[Path], Facts]) -> Entry:
    """The entry `key` below `parent`, written by `write(folder)` unless it is there and whole.

    `write` fills the empty folder that it is given and returns what is worth knowing about it. Raises `CacheError`
    when the cache folder cannot be written or is full; then nothing is left of the attempt.
    """
    present = open_entry(parent, key)
    if present is not None:
        return present
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parent)
        temporary = _temporary_folder(parent)
        try:
            _seal(temporary, key, write(temporary))
            _put_in_place(temporary, parent, key)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise cache_trouble(error, parent) from error
    built = open_entry(parent, key)
    if built is None:
        raise CacheError(f"the cache folder '{parent}' does not keep what is written to it.")
    return built


def open_entry(parent: Path, key: str) -> Entry | None:
    """The entry if it is there and every byte is as it was written, else None."""
    folder = parent / key
    try:
        sealed = _EntryFacts.model_validate_json((folder / FACTS_FILE).read_bytes())
        if sealed.version != ENTRY_VERSION or sealed.key != key:
            return None
        if {path.name for path in folder.iterdir()} != {FACTS_FILE, *sealed.files}:
            return None
        for name, facts in sealed.files.items():
            if (folder / name).stat().st_size != facts.bytes or _hash(folder / name) != facts.sha256:
                return None
    except (OSError, ValidationError):
        return None
    return Entry(folder, sealed.facts, {name: facts.sha256 for name, facts in sealed.files.items()})


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


def _seal(folder: Path, key: str, facts: Facts) -> None:
    """Write the facts last, everything flushed to the disk."""
    files = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[path.name] = _FileFacts(bytes=path.stat().st_size, sha256=_hash(path))
    sealed = _EntryFacts(version=ENTRY_VERSION, key=key, files=files, facts=facts)
    with (folder / FACTS_FILE).open("wb") as file:
        file.write(sealed.model_dump_json(indent=1).encode())
        file.flush()
        os.fsync(file.fileno())


def _put_in_place(temporary: Path, parent: Path, key: str) -> None:
    target = parent / key
    if open_entry(parent, key) is not None:
        return  # another process was quicker
    if target.is_symlink() or target.is_file():
        target.unlink()
    elif target.exists():
        damaged = _temporary_folder(parent)
        try:
            target.rename(damaged / "damaged")
        finally:
            shutil.rmtree(damaged, ignore_errors=True)
    try:
        temporary.rename(target)
    except OSError:
        if open_entry(parent, key) is None:
            raise
    folder = os.open(parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _temporary_folder(parent: Path) -> Path:
    host = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname()) or "host"
    return Path(tempfile.mkdtemp(dir=parent, prefix=f"{_WRITING}{host}-{os.getpid()}-"))


def _remove_abandoned(parent: Path) -> None:
    """Remove what killed processes of this machine left behind."""
    host = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname()) or "host"
    for path in parent.glob(f"{_WRITING}{host}-*"):
        found = re.match(r"\d+", path.name.removeprefix(f"{_WRITING}{host}-"))
        if found and not _is_alive(int(found.group())):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(process: int) -> bool:
    with contextlib.suppress(PermissionError, OverflowError):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
