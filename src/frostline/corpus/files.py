"""Which files are read, and can they be? Regular files only, hashed before use, text decoded as UTF-8 in a stream.

Every way in which a path or its bytes can be wrong ends here as a `CorpusError` of one sentence.
"""

from __future__ import annotations

import codecs
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from frostline.errors import CorpusError, nearest

CHUNK_BYTES = 1 << 20
SUFFIXES: dict[str, tuple[str, ...]] = {
    "text": (".txt", ".text", ".md", ".markdown", ".rst", ".adoc", ".org", ".tex"),
    "jsonl": (".jsonl", ".ndjson"),
    "csv": (".csv", ".tsv"),
    "parquet": (".parquet", ".pq"),
}
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(frozen=True)
class SourceFile:
    """One file as it was when it was hashed."""

    path: Path
    format: str
    """`text`, `jsonl`, `csv` or `parquet`."""
    bytes: int
    modified_ns: int
    sha256: str


def shown(path: Path) -> str:
    """`path` in quotes for a message; a name that is not valid Unicode stays printable."""
    return "'" + os.fsencode(path).decode("utf-8", "backslashreplace") + "'"


def separator_of(path: Path) -> str:
    """What stands between the columns of a csv file: a tab in `.tsv`, else a comma."""
    return "\t" if path.suffix.lower() == ".tsv" else ","


def format_of(path: Path) -> str:
    """The format that the file's name says; an unknown ending is read as text."""
    suffix = path.suffix.lower()
    return next((name for name, suffixes in SUFFIXES.items() if suffix in suffixes), "text")


def status_of(path: Path) -> os.stat_result:
    """What the file system knows about `path`, which must be a regular file or a folder. Raises `CorpusError`."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise unreachable(path, error) from error
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        kind = next((name for test, name in _KINDS if test(status.st_mode)), "something else")
        raise CorpusError(f"{shown(path)} is {kind}, not a regular file.", "Copy its content into a file first.")
    return status


def inspect_file(path: Path, file_format: str) -> SourceFile:
    """Hash a regular file. Raises `CorpusError`; an empty file is not an error here."""
    status = status_of(path)
    if stat.S_ISDIR(status.st_mode):
        raise CorpusError(f"{shown(path)} is a folder, not a file.")
    digest = hashlib.sha256()
    for chunk in _byte_chunks(path):
        digest.update(chunk)
    return SourceFile(path, file_format, status.st_size, status.st_mtime_ns, digest.hexdigest())


def check_unchanged(file: SourceFile) -> None:
    """Raise `CorpusError` if the file is not the one that was hashed any more."""
    status = status_of(file.path)
    if (status.st_size, status.st_mtime_ns) != (file.bytes, file.modified_ns):
        raise CorpusError(f"{shown(file.path)} changed while it was being read.", "Run again when it is complete.")


def find_files(folder: Path, file_format: str) -> list[Path]:
    """All files of `file_format` below `folder`, sorted by relative path, hidden ones and symbolic links left out.

    Links are not followed, so a folder never reads beyond itself or in a circle. Raises `CorpusError` if none is
    found, or if something with a fitting name is not a regular file.
    """
    suffixes = SUFFIXES[file_format]
    found: list[Path] = []
    others: set[str] = set()
    links = 0
    waiting = [folder]
    while waiting:
        for entry in _entries(waiting.pop()):
            path = Path(entry.path)
            fits = path.suffix.lower() in suffixes
            if entry.name.startswith("."):
                continue
            if entry.is_symlink():
                links += 1
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            elif fits:
                status_of(path)
                found.append(path)
            else:
                others.add(format_of(path) if path.suffix.lower() in _ALL_SUFFIXES else "")
    if not found:
        raise _nothing_found(folder, file_format, sorted(others - {""}), links)
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def decoded_chunks(path: Path) -> Iterator[str]:
    """The text of a UTF-8 file in pieces.

    A byte order mark at the beginning is dropped and each carriage return + line feed becomes a line feed. Raises
    `CorpusError` with the byte offset where the bytes are not UTF-8, or where they are not text (a NUL byte).
    """
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    done, held_back = 0, ""
    for chunk in _byte_chunks(path):
        if done == 0:
            _check_mark(path, chunk)
        if (zero := chunk.find(b"\0")) >= 0:
            raise CorpusError(
                f"{shown(path)} is not a text file: byte {done + zero:,} is zero.",
                "Give a text file, or say what it is with 'format: parquet'.",
            )
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk)
        except UnicodeDecodeError as error:
            raise _not_utf8(path, done - pending + error.start) from error
        if done == 0:
            text = text.removeprefix("\ufeff")
        done += len(chunk)
        text = (held_back + text).replace("\r\n", "\n")
        # A carriage return at the very end may be the first half of a line end.
        held_back = "\r" if text.endswith("\r") else ""
        yield text.removesuffix("\r")
    pending = len(decoder.getstate()[0])
    if pending:
        raise _not_utf8(path, done - pending)
    if held_back:
        yield held_back


def _byte_chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise unreachable(path, error) from error


def _check_mark(path: Path, chunk: bytes) -> None:
    if chunk.startswith(_UTF16_MARKS):
        raise CorpusError(
            f"{shown(path)} is encoded as UTF-16, not UTF-8 (its first two bytes say so).",
            f"Convert it with: iconv -f UTF-16 -t UTF-8 {shown(path)}",
        )


def _not_utf8(path: Path, offset: int) -> CorpusError:
    return CorpusError(
        f"{shown(path)} is not UTF-8: byte {offset:,} cannot be decoded.",
        f"Convert it to UTF-8, for example from Latin-1 with: iconv -f LATIN1 -t UTF-8 {shown(path)}",
    )


_ALL_SUFFIXES = {suffix for suffixes in SUFFIXES.values() for suffix in suffixes}


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise unreachable(folder, error) from error


def _nothing_found(folder: Path, file_format: str, others: list[str], links: int) -> CorpusError:
    wanted = ", ".join(SUFFIXES[file_format])
    skipped = f"; {links} symbolic link{'s are' if links > 1 else ' is'} not followed" if links else ""
    hint = f"It has {others[0]} files: say 'format: {others[0]}'." if others else "Give a folder with such files."
    return CorpusError(f"the folder {shown(folder)} has no {file_format} files ({wanted}){skipped}.", hint)


def unreachable(path: Path, error: OSError | ValueError) -> CorpusError:
    """Why the file system does not let `path` be read, as one sentence."""
    if isinstance(error, ValueError):
        return CorpusError(f"{str(path)!r} is not a path.")
    if error.errno == errno.ELOOP:
        return CorpusError(f"{shown(path)} is a symbolic link that leads back to itself.")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if path.is_symlink():
            return CorpusError(f"{shown(path)} is a symbolic link to nothing.")
        return CorpusError(f"there is no file or folder {shown(path)}.", _similar_name(path))
    return CorpusError(f"{shown(path)} cannot be read: {(error.strerror or str(error)).lower()}.")


def _similar_name(path: Path) -> str:
    try:
        close = nearest(path.name, sorted(other.name for other in path.parent.iterdir()), count=1)
    except OSError:
        return "Paths in a recipe are relative to its folder."
    return close or "Paths in a recipe are relative to its folder."
