"""What bytes does a file hold once it is unpacked? A stream of them, whether it is plain, gzip, zstd, bzip2 or xz.

The first bytes decide, not the name. What is unpacked is read piece by piece, so an archive that unpacks to more than
the memory holds does no harm. Archives of several files, and documents that only look like files of text, are refused.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import zstandard

from frostline.corpus.places import shown, unreachable
from frostline.errors import CorpusError

_ZSTD_MARK = b"\x28\xb5\x2f\xfd"
_MARKS: dict[str, bytes] = {
    "gzip": b"\x1f\x8b\x08",
    "zstd": _ZSTD_MARK,
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\0",
}
COMPRESSED: dict[str, str] = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bzip2", ".xz": "xz"}
"""Which compression a name's last ending promises."""
_BZIP2_BLOCK = b"1AY&SY"
_ZSTD_PIECE = 1 << 12
"""Bytes unpacked at once: at zstd's best, 4 bytes stand for 128 KiB, so a piece is 128 MiB at most."""
_DOCUMENTS = (
    (
        0,
        b"PK\x03\x04",
        "a zip archive (as Excel and Word write)",
        "Unpack it; of a spreadsheet, save the sheet as csv.",
    ),
    (0, b"%PDF-", "a PDF document", "Extract its text into a .txt file first."),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it first."),
    (0, b"SQLite format 3\0", "an SQLite database", "Write the wanted table into a csv or jsonl file."),
    (0, b"\xd0\xcf\x11\xe0", "an old Excel or Word document", "Save it as csv or as plain text."),
    (257, b"ustar", "a tar archive", "Unpack it first, and name its folder."),
    (0, b"\x89PNG\r\n", "a picture", "Write its text into a .txt file first."),
    (0, b"\xff\xd8\xff", "a picture", "Write its text into a .txt file first."),
    (0, b"\x7fELF", "a program", "Give text or a table."),
    (0, b"\x93NUMPY", "an array of numpy", "Write its text as jsonl first."),
    (0, b"\x80\x04\x95", "a pickle of Python", "Write its rows as jsonl or parquet first."),
    (0, b"{\\rtf", "a document in rich text format", "Save it as plain text."),
    (0, b"PAR1", "a parquet file", "Say 'format: parquet'."),
    (0, b"ARROW1", "an arrow file", "Say 'format: arrow'."),
    (0, b"version https://git-lfs.github.com/", "a Git LFS pointer, not the file itself", "Run: git lfs pull"),
)


@dataclass(frozen=True)
class ByteStream:
    """Unpacked bytes of a file."""

    file: IO[bytes]
    head: bytes
    """Its first bytes, which are still to be read from `file`."""
    position: Callable[[], int]
    """Bytes of the file itself that were read so far, as it lies on disk."""


@contextmanager
def opened(path: Path) -> Iterator[ByteStream]:
    """The bytes of `path`, unpacked. Raises `CorpusError` where it cannot be read, or is cut or damaged."""
    try:
        with path.open("rb") as raw:
            unpacked, kind = _unpacked(path, raw)
            if kind:
                with unpacked:
                    yield _checked(path, unpacked, raw)
            else:
                yield _checked(path, unpacked, raw)
    except EOFError as error:
        raise CorpusError(f"{shown(path)} ends in the middle of its compressed data.", "Copy it again.") from error
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, gzip.BadGzipFile) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if error.errno is None:  # bz2 says so of damaged data
            raise _damaged(path, error) from error
        raise unreachable(path, error) from error


def _unpacked(path: Path, raw: io.BufferedReader) -> tuple[io.BufferedReader, str]:
    head = raw.peek(16)[:16]
    kind = next((name for name, mark in _MARKS.items() if head.startswith(mark)), "")
    if kind == "bzip2" and head[4:10] != _BZIP2_BLOCK:
        kind = ""
    promised = COMPRESSED.get(path.suffix.lower())
    if promised is not None and promised != kind and head:
        found = f"but {kind}" if kind else "but something else"
        raise CorpusError(f"{shown(path)} is not {promised} as its name says, {found}.", "Name it as what it is.")
    if kind == "gzip":
        return cast("io.BufferedReader", gzip.GzipFile(fileobj=raw)), kind
    if kind == "bzip2":
        return cast("io.BufferedReader", bz2.BZ2File(raw)), kind
    if kind == "xz":
        return cast("io.BufferedReader", lzma.LZMAFile(raw)), kind
    if kind == "zstd":
        return io.BufferedReader(_ZstdReader(raw)), kind
    return raw, ""


def _checked(path: Path, unpacked: io.BufferedReader, raw: io.BufferedReader) -> ByteStream:
    head = unpacked.peek(512)[:512]
    for offset, mark, what, hint in _DOCUMENTS:
        if head.startswith(mark, offset):
            raise CorpusError(f"{shown(path)} is {what}, not text or a table.", hint)
    return ByteStream(unpacked, head, raw.tell)


def _damaged(path: Path, error: Exception) -> CorpusError:
    reason = " ".join(str(error).split())[:120].rstrip(".") or type(error).__name__
    return CorpusError(f"{shown(path)} cannot be unpacked: {reason}.", "Copy it again.")


class _ZstdReader(io.RawIOBase):
    """Frames of zstd, one after another; unlike the package's own, raises `EOFError` where the last one is cut."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._began = False
        self._rest = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            piece = self._rest or self._packed.read(_ZSTD_PIECE)
            self._rest = b""
            if not piece:
                if self._began:
                    raise EOFError
                return 0
            self._began = True
            self._ready = memoryview(self._frame.decompress(piece))
            if self._frame.eof:
                self._rest = self._frame.unused_data
                self._frame, self._began = zstandard.ZstdDecompressor().decompressobj(), False
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size
