"""How is a folder of files written so that it is whole or not there? It is sealed: cache entries and checkpoints are.

A folder is filled beside its place under a temporary name; every file is flushed to the disk; its seal, a manifest with
the size and SHA-256 of each file, is written last; then the folder is renamed and its parent flushed. A process that is
killed at any moment leaves the old state or the new one, and opening checks every byte (once in a process, as
`file_hash` has it).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from frostline.storage.file_hash import file_sha256

SEAL_VERSION = 2
SEAL_FILE = "facts.json"
_WRITING = ".writing-"
_ABANDONED_SECONDS = 7 * 86_400
"""Another machine's half-written folder is abandoned once nothing in it has changed for so long."""

_OCCUPIED = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})
"""Errors of a rename that say: something is there already."""
_TRIES = 20
"""How often the place may be taken by others before that is an error."""

_BOOT, _NAMESPACE = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")

Facts = dict[str, int | str]


class SealBrokenError(Exception):
    """A sealed folder is not as it was written: `file` says where, `why` what was found."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file}: {why}")
        self.file = file
        self.why = why


class _FileFacts(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    bytes: int
    sha256: str


class _Seal(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    version: int
    key: str
    files: dict[str, _FileFacts]
    facts: Facts
    sha256: str = ""
    """SHA-256 of the manifest itself, with this field empty."""

    def own_sha256(self) -> str:
        return hashlib.sha256(self.model_copy(update={"sha256": ""}).model_dump_json().encode()).hexdigest()


@dataclass(frozen=True)
class Sealed:
    """A sealed folder, checked."""

    folder: Path
    facts: Facts
    sha256: dict[str, str]
    """SHA-256 of each file by name."""


def seal(parent: Path, key: str, write: Callable[[Path], Facts]) -> None:
    """Make the folder `parent / key` with what `write(folder)` puts into the empty folder that it is given.

    A whole one that is there already stays; a damaged one gives way. Raises `OSError` when the disk does not take it,
    and whatever `write` raises; then nothing is left of the attempt.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(parent)
    temporary = _temporary_folder(parent)
    try:
        _close(temporary, key, write(temporary))
        _put_in_place(temporary, parent, key)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def place_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Make the folder `target`, which is not there or empty, with what `write(folder)` puts into a folder beside it.

    Unsealed, for others to read. It is there whole or not at all, flushed to the disk. Raises `OSError` when the disk
    does not take it, and whatever `write` raises; then nothing is left of the attempt.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(target.parent)
    temporary = _temporary_folder(target.parent)
    try:
        write(temporary)
        for path in sorted(temporary.rglob("*")):
            _flush(path)
        flush_folder(temporary)
        temporary.chmod(0o755)  # made for its owner alone
        temporary.rename(target)
        flush_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def open_sealed(parent: Path, key: str) -> Sealed:
    """The sealed folder `parent / key`, every byte checked. Raises `SealBrokenError`."""
    folder = parent / key
    try:
        found = _Seal.model_validate_json((folder / SEAL_FILE).read_bytes())
    except OSError as error:
        raise SealBrokenError(folder / SEAL_FILE, _reason(error)) from error
    except ValidationError as error:
        raise SealBrokenError(folder / SEAL_FILE, "it is not a manifest") from error
    if found.sha256 != found.own_sha256():
        raise SealBrokenError(folder / SEAL_FILE, "its content is not what was written (SHA-256 differs)")
    if found.version != SEAL_VERSION or found.key != key:
        raise SealBrokenError(folder / SEAL_FILE, "it belongs to another version or place")
    try:
        names = {path.name for path in folder.iterdir()}
        for name in sorted(names ^ {SEAL_FILE, *found.files}):
            raise SealBrokenError(folder / name, "it is not in the manifest" if name in names else "it is missing")
        for name, facts in found.files.items():
            size = (folder / name).stat().st_size
            if size != facts.bytes:
                raise SealBrokenError(folder / name, f"it has {size:,} bytes instead of {facts.bytes:,}")
            if file_sha256(folder / name) != facts.sha256:
                raise SealBrokenError(folder / name, "its content is not what was written (SHA-256 differs)")
    except OSError as error:
        raise SealBrokenError(folder, _reason(error)) from error
    return Sealed(folder, found.facts, {name: facts.sha256 for name, facts in found.files.items()})


def write_file(path: Path, content: bytes) -> None:
    """Write `content` to the new file `path` and flush it to the disk. Raises `OSError`."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        unwritten = memoryview(content)
        while unwritten:
            unwritten = unwritten[os.write(handle, unwritten) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` in the place of the file `path`; whoever reads meets the old or the new. Raises `OSError`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    for left in path.parent.glob(f".{path.name}.*.part"):
        number = left.suffixes[-2].removeprefix(".") if len(left.suffixes) > 1 else ""
        if left == beside or (number.isdigit() and not is_alive(int(number))):
            left.unlink(missing_ok=True)  # of a process that was killed
    try:
        write_file(beside, content)
        beside.rename(path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Flush the names in `folder` to the disk."""
    _flush(folder)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_whole(folder: Path) -> None:
    """Remove `folder`: out of its place at once, so that nobody meets a part of it. Raises `OSError` if it stays."""
    aside = _temporary_folder(folder.parent)
    try:
        folder.rename(aside / "removed")
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def remove_abandoned(parent: Path, *, alone: bool = False) -> None:
    """Remove the half-written folders that killed processes left in `parent`: of this machine at once.

    Whether a process of another machine lives cannot be asked, and a machine of a cluster may never come back: what
    those left goes when it has not changed for a week, by the clock of the disk itself; at once if `alone`, where no
    other machine writes.
    """
    own, foreign = f"{_WRITING}{_host()}-", []
    for path in parent.glob(f"{_WRITING}*"):
        if not path.name.startswith(own):
            foreign.append(path)
        elif (found := re.match(r"\d+", path.name.removeprefix(own))) and not is_alive(int(found.group())):
            shutil.rmtree(path, ignore_errors=True)
    if foreign:
        with contextlib.suppress(OSError):
            now = time_on_disk(parent)
            for path in foreign:
                if alone or now - _changed_at(path) > _ABANDONED_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)


def time_on_disk(folder: Path) -> float:
    """Seconds since 1970 by the clock that the times of files in `folder` have, which may be another machine's.

    Raises `OSError`.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"now")
        file.flush()
        return os.fstat(file.fileno()).st_mtime


def _changed_at(folder: Path) -> float:
    """When `folder`, or something in it, was last changed; infinity where that cannot be told."""
    try:
        return max(path.stat(follow_symlinks=False).st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:  # its process has just put it in its place
        return math.inf


def is_alive(process: int) -> bool:
    """Whether there is a process of this number on this machine."""
    with contextlib.suppress(PermissionError, OverflowError):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True


def _close(folder: Path, key: str, facts: Facts) -> None:
    """Write the seal last, everything flushed to the disk."""
    files = {}
    for path in sorted(folder.iterdir()):
        _flush(path)
        files[path.name] = _FileFacts(bytes=path.stat().st_size, sha256=file_sha256(path))
    sealed = _Seal(version=SEAL_VERSION, key=key, files=files, facts=facts)
    sealed = sealed.model_copy(update={"sha256": sealed.own_sha256()})
    write_file(folder / SEAL_FILE, sealed.model_dump_json(indent=1).encode())
    flush_folder(folder)


def _put_in_place(temporary: Path, parent: Path, key: str) -> None:
    """Rename `temporary` to its place, whatever others do there at the same time: put theirs, or remove what is there.

    What is there is not asked for beforehand: that may change between the question and what follows.
    """
    for _ in range(_TRIES):
        try:
            temporary.rename(parent / key)
            break
        except OSError as error:
            if _is_whole(parent, key):
                return  # another process was quicker
            if error.errno not in _OCCUPIED:
                raise
            trouble = error
        _remove_damaged(parent / key)
    else:
        raise trouble
    flush_folder(parent)


def _remove_damaged(target: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # another process has done so
        if target.is_symlink() or target.is_file():
            target.unlink()
        else:
            remove_whole(target)


def _is_whole(parent: Path, key: str) -> bool:
    try:
        open_sealed(parent, key)
    except SealBrokenError:
        return False
    return True


def _temporary_folder(parent: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=parent, prefix=f"{_WRITING}{_host()}-{os.getpid()}-"))


def _host() -> str:
    """Stands for the numbers of processes that can be asked for here: this machine since it started, or a container.

    A name alone may be that of many: machines of a cluster that are all called localhost.
    """
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # Linux alone
        parts.append(_BOOT.read_text(encoding="ascii").strip())
        parts.append(str(_NAMESPACE.readlink()))
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()[:16]


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
