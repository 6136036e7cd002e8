"""What text is meant, and how does it flow? A source is named, checked and hashed first; its text then comes in blocks.

Nothing ever holds a whole source: plain files are decoded piece by piece, tables are read row by row.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from frostline.corpus.blocks import cut_into_blocks
from frostline.corpus.embedded import embedded_description, embedded_text
from frostline.corpus.encodings import decoded_chunks
from frostline.corpus.fetch import Progress, fetch, shown_address
from frostline.corpus.files import (
    SourceFile,
    check_unchanged,
    find_files,
    format_of,
    inspect_file,
    is_tab_separated,
    status_of,
)
from frostline.corpus.hub import hub_columns, hub_commit, hub_name, read_hub_rows
from frostline.corpus.places import plain_name, shown
from frostline.corpus.rows import Row, text_of
from frostline.corpus.saved import is_saved, saved_files
from frostline.corpus.tables import column_names, read_rows
from frostline.corpus.tally import NO_TEXT, Tally
from frostline.errors import CorpusError
from frostline.recipe import EMBEDDED, HUB_PREFIX, CorpusSettings

_BEGINS_AS_JSON = re.compile(r'\s*(?:\[\s*)?\{\s*"(?:[^"\\\n]|\\.){0,200}"\s*:')
_BEGINS_AS_PAGE = re.compile(r"\s*<(?:!doctype html|html|\?xml)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Block:
    """Text that is tokenised in one go."""

    text: str
    opens_document: bool
    """True for the first block of a document."""
    bytes_read: int
    """Bytes of the source up to the end of this block (of the row that it is from)."""
    file: int = 0
    """Number of its file, counted from 0."""


class RowReader(Protocol):
    """Hands out the rows of a source. Rows that it hands out are counted by who takes them, with `Tally.row`."""

    def __call__(self, columns: tuple[str, ...], tally: Tally | None = None) -> Iterator[Row]:
        """All rows; what is remarkable about them goes into `tally`."""


@dataclass(frozen=True)
class Source:
    """A source that was found and hashed, and how to read it."""

    description: str
    identity: str
    """What the cache goes by: the content, or for a hub data set its commit, as it cannot be hashed before reading."""
    sha256: str | None
    """SHA-256 of the file's bytes, or of a folder's hashes; None for a hub data set, hashed while it is read."""
    bytes: int
    """Size, 0 where it is not known."""
    is_table: bool
    """Rows are documents of their own; a single plain text is one document."""
    blocks: Callable[[Tally], Iterator[Block]]
    """All the text; rows are counted in the tally."""
    rows: RowReader | None
    """The rows' columns; None for plain text."""
    column_names: Callable[[], tuple[str, ...]]
    """The columns of the first file (of its first row, where rows may differ); none for plain text."""
    revision: str | None = None
    """Commit of a hub data set."""
    files: tuple[str, ...] = ()
    """Names of its files, in the order in which they are read; none where there is one, or they mean nothing."""


def open_source(settings: CorpusSettings, cache: Path, progress: Progress | None = None) -> Source:
    """Find what `settings.source` names and hash it. Raises `CorpusError` for whatever is wrong with it."""
    if settings.source == EMBEDDED:
        source = _embedded_source()
    elif settings.source.startswith(HUB_PREFIX):
        source = _hub_source(settings, cache)
    elif "://" in settings.source:
        path = fetch(settings.source, settings.sha256 or "", cache, progress)
        source = _file_source(settings, [path], shown_address(settings.source))
    else:
        path = settings.place.path_of(settings.source)
        if status_of(path).st_mode & 0o170000 == 0o040000:
            source = _folder_source(settings, path)
        else:
            source = _file_source(settings, [path], path.name)
    if settings.sha256 is not None and source.sha256 is not None:
        check_sha256(settings, source.sha256)
    return source


def is_running_text(settings: CorpusSettings) -> bool:
    """Whether the text is certainly cut into whole windows, by what the recipe says: of a table that shows in its rows.

    Nothing is read; a folder's files are not looked at.
    """
    if settings.source == EMBEDDED or settings.format == "text":
        return True
    is_elsewhere = settings.source.startswith((HUB_PREFIX, "https://"))
    return settings.format == "auto" and not is_elsewhere and _is_text_file(settings.place.path_of(settings.source))


def _is_text_file(path: Path) -> bool:
    return path.is_file() and format_of(path) == "text"


def check_sha256(settings: CorpusSettings, found: str) -> None:
    """Raise `CorpusError` if the recipe expects another content."""
    if settings.sha256 is not None and found != settings.sha256.strip().lower():
        raise CorpusError(
            f"'{settings.source}' has the SHA-256 {found}, not {settings.sha256}.",
            "Its content has changed: put its own sum into the recipe if it is what you want.",
        )


def _embedded_source() -> Source:
    text = embedded_text()
    data = text.encode()
    digest = hashlib.sha256(data).hexdigest()

    return Source(
        embedded_description(), f"text:{digest}", digest, len(data), False, lambda _: _document([text]), None, _none
    )


def _hub_source(settings: CorpusSettings, cache: Path) -> Source:
    commit = hub_commit(settings, cache)
    identity = f"hub:{hub_name(settings)}:{commit}:{settings.subset or ''}:{settings.split}"
    subset = f", {settings.subset}" if settings.subset else ""

    def rows(columns: tuple[str, ...], tally: Tally | None = None) -> Iterator[Row]:
        del tally  # rows of a data set have all its columns: nothing to remark on
        return read_hub_rows(settings, commit, columns)

    return Source(
        description=f"{settings.source}{subset} ({settings.split})",
        identity=identity,
        sha256=None,
        bytes=0,
        is_table=True,
        blocks=lambda tally: _row_blocks(rows((settings.text_column,), tally), settings.text_column, tally),
        rows=rows,
        column_names=partial(hub_columns, settings, commit, cache),
        revision=commit,
    )


def _folder_source(settings: CorpusSettings, folder: Path) -> Source:
    name = folder.resolve().name
    if is_saved(folder) and settings.format in ("auto", "arrow", "chat"):
        return _file_source(settings, saved_files(folder, settings.split), f"{name} (a saved data set)", "arrow")
    found = find_files(folder, "auto" if settings.format == "chat" else settings.format)
    parts = [_counted(len(found.paths), "file")]
    if found.others:
        parts.append(f"{_counted(found.others, 'file')} of other formats not read")
    if found.links:
        parts.append(f"{_counted(found.links, 'symbolic link')} not followed")
    source = _file_source(settings, found.paths, f"{name} ({'; '.join(parts)})", found.format)
    names = tuple(plain_name(path.relative_to(folder)) for path in found.paths)
    return replace(source, files=names if len(names) > 1 else ())


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _file_source(
    settings: CorpusSettings, paths: list[Path], description: str, folder_format: str | None = None
) -> Source:
    """`folder_format`: the format of all files of a folder; None where the source is a single file."""
    whole = folder_format is None
    file_format = folder_format or (format_of(paths[0]) if settings.format in ("auto", "chat") else settings.format)
    files = [inspect_file(path, file_format, settings.encoding) for path in paths]
    if not any(file.bytes for file in files):
        raise CorpusError(f"{shown(paths[0])} is empty." if whole else f"every file of {description} is empty.")
    joined = hashlib.sha256("".join(file.sha256 for file in files).encode()).hexdigest()
    sha256 = files[0].sha256 if whole else joined
    is_table = file_format != "text"
    if not is_table and settings.format == "auto":
        for file in files:
            _require_prose(file)
    tabs = "".join("t" if is_tab_separated(file.path) else "c" for file in files) if file_format == "csv" else ""
    kind = f"{file_format}{tabs}:{settings.encoding}"
    return Source(
        description=description,
        identity=f"{kind}:{'file' if whole else 'folder'}:{sha256}",
        sha256=sha256,
        bytes=sum(file.bytes for file in files),
        is_table=is_table or not whole,
        blocks=lambda tally: (
            _row_blocks(_rows_of(files, (settings.text_column,), tally), settings.text_column, tally)
            if is_table
            else _text_blocks(files)
        ),
        rows=partial(_rows_of, files) if is_table else None,
        column_names=partial(column_names, next(file for file in files if file.bytes)) if is_table else _none,
    )


def _require_prose(file: SourceFile) -> None:
    """Raise `CorpusError` if a file that nobody calls text begins as JSON, or as a page with tags."""
    start = next(decoded_chunks(file.path, file.encoding), "")
    if _BEGINS_AS_JSON.match(start):
        raise CorpusError(
            f"{shown(file.path)} begins as JSON, though its name does not say so.",
            "Say 'format: jsonl' or 'format: json'; or 'format: text' to learn braces and quotes, too.",
        )
    if _BEGINS_AS_PAGE.match(start):
        raise CorpusError(
            f"{shown(file.path)} is HTML or XML: its tags would be learnt.",
            "Extract its text first; or say 'format: text' to learn the tags, too.",
        )


def _none() -> tuple[str, ...]:
    return ()


def _document(pieces: Iterable[str], bytes_before: int = 0, file: int = 0) -> Iterator[Block]:
    """One document that comes in `pieces`."""
    read = bytes_before
    for number, text in enumerate(cut_into_blocks(pieces)):
        read += len(text.encode())
        yield Block(text, number == 0, read, file)


def _text_blocks(files: list[SourceFile]) -> Iterator[Block]:
    before = 0
    for number, file in enumerate(files):
        yield from _document(decoded_chunks(file.path, file.encoding), before, number)
        check_unchanged(file)
        before += file.bytes


def _rows_of(files: list[SourceFile], columns: tuple[str, ...], tally: Tally | None = None) -> Iterator[Row]:
    before = 0
    for number, file in enumerate(files):
        if file.bytes:
            for row in read_rows(file, columns, tally):
                yield Row(row.values, row.place, before + row.bytes_read, number)
        before += file.bytes


def _row_blocks(rows: Iterator[Row], column: str, tally: Tally) -> Iterator[Block]:
    """The one column of `rows` as documents; rows without text are left out."""
    for row in rows:
        tally.row()
        text = text_of(row.values[0], column, row.place)
        if text is None or not text.strip():
            tally.leave_out(NO_TEXT, row.place)
        else:
            for number, block in enumerate(cut_into_blocks([text])):
                yield Block(block, number == 0, row.bytes_read, row.file)
