"""Which files are read, and can they be? Regular files only, hashed before use.

Every way in which a path or its bytes can be wrong ends here as a `CorpusError` of one sentence.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from frostline.corpus.compressed import COMPRESSED
from frostline.corpus.encodings import AUTO
from frostline.corpus.places import shown, unreachable
from frostline.errors import CorpusError
from frostline.storage import file_sha256

CHUNK_BYTES = 1 << 20
SUFFIXES: dict[str, tuple[str, ...]] = {
    "text": (".txt", ".text", ".md", ".markdown", ".rst", ".adoc", ".org", ".tex"),
    "jsonl": (".jsonl", ".ndjson", ".jsonlines"),
    "json": (".json",),
    "csv": (".csv", ".tsv", ".tab"),
    "parquet": (".parquet", ".pq"),
    "arrow": (".arrow", ".feather", ".ipc"),
}
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
    """A key of `SUFFIXES`."""
    bytes: int
    modified_ns: int
    sha256: str
    encoding: str = AUTO
    """The encoding that the recipe says; `auto` for what the file says itself."""


@dataclass(frozen=True)
class FoundFiles:
    """The files of a folder that are read, and how many are not."""

    paths: list[Path]
    format: str
    others: int
    """Files of other formats."""
    links: int
    """Symbolic links, to files or folders, which are not followed."""


def format_of(path: Path) -> str:
    """The format that the file's name says, without an ending such as `.gz`; an unknown ending is read as text."""
    return _known_format(path) or "text"


def _known_format(path: Path) -> str | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    last = suffixes[-1] if suffixes else ""
    return next((name for name, known in SUFFIXES.items() if last in known), None)


def is_tab_separated(path: Path) -> bool:
    """Whether the name of a csv file says that tabs stand between its columns."""
    return any(suffix.lower() in (".tsv", ".tab") for suffix in path.suffixes[-2:])


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


def inspect_file(path: Path, file_format: str, encoding: str = AUTO) -> SourceFile:
    """Hash a regular file. Raises `CorpusError`; an empty file is not an error here."""
    status = status_of(path)
    if stat.S_ISDIR(status.st_mode):
        raise CorpusError(f"{shown(path)} is a folder, not a file.")
    try:
        sha256 = file_sha256(path)
    except OSError as error:
        raise unreachable(path, error) from error
    return SourceFile(path, file_format, status.st_size, status.st_mtime_ns, sha256, encoding)


def check_unchanged(file: SourceFile) -> None:
    """Raise `CorpusError` if the file is not the one that was hashed any more."""
    status = status_of(file.path)
    if (status.st_size, status.st_mtime_ns) != (file.bytes, file.modified_ns):
        raise CorpusError(f"{shown(file.path)} changed while it was being read.", "Run again when it is complete.")


def find_files(folder: Path, file_format: str) -> FoundFiles:
    """All files of `file_format` below `folder`, sorted by relative path, hidden ones left out.

    `auto` is the one format that the folder has. Symbolic links are not followed, so a folder never reads beyond
    itself or in a circle. Raises `CorpusError` if none is found, if `auto` finds several formats, or if something
    with a fitting name is not a regular file.
    """
    by_format: dict[str, list[Path]] = {}
    others = links = 0
    waiting = [folder]
    while waiting:
        for entry in _entries(waiting.pop()):
            path = Path(entry.path)
            if entry.name.startswith("."):
                continue
            if entry.is_symlink():
                links += 1
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            elif (known := _known_format(path)) is not None:
                by_format.setdefault(known, []).append(path)
            else:
                others += 1
    if file_format == "auto" and len(by_format) > 1:
        listed = " and ".join(f"{len(paths):,} {name}" for name, paths in sorted(by_format.items()))
        choices = " or ".join(f"'format: {name}'" for name in sorted(by_format))
        raise CorpusError(f"the folder {shown(folder)} has files of several formats: {listed}.", f"Say {choices}.")
    found_format = next(iter(by_format), "text") if file_format == "auto" else file_format
    found = by_format.pop(found_format, [])
    if not found:
        raise _nothing_found(folder, found_format, sorted(by_format), links)
    for path in found:
        status_of(path)
    left_out = others + sum(len(paths) for paths in by_format.values())
    return FoundFiles(sorted(found, key=lambda path: path.relative_to(folder).parts), found_format, left_out, links)


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
