"""Which characters do a file's bytes stand for? UTF-8, or what its mark or the recipe says, decoded strictly.

UTF-8, UTF-16 and UTF-32 are known by a mark at the beginning. Bytes without a mark that are not UTF-8 are refused
with their place and what they look like: a guess that is wrong would train on wrong letters, so it is the user's.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from charset_normalizer import from_bytes

from frostline.corpus.compressed import ByteStream, opened
from frostline.corpus.places import shown
from frostline.errors import CorpusError

CHUNK_BYTES = 1 << 20
AUTO = "auto"
LARGEST_ROW_BYTES = 256 << 20
_MARKS = (  # the longer first: UTF-32's begins as UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES = 1 << 14
_PLAUSIBLE = ("cp1252", "latin_1")
_SHOWN_CHARACTERS = 12


@dataclass(frozen=True)
class TextLines:
    """Lines of a file of text, each with its end as it is written."""

    lines: Iterator[str]
    stream: ByteStream


def decoder_of(path: Path, encoding: str, head: bytes) -> str:
    """The codec for a file that begins with `head`, which drops the mark. Raises `CorpusError` if the mark objects."""
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if encoding == AUTO:
        name = marked or "utf-8"
    else:
        name = codecs.lookup(encoding).name
        if marked is not None and not name.startswith(marked):
            raise CorpusError(
                f"{shown(path)} begins with the mark of {marked.upper()}, but the recipe says 'encoding: {encoding}'.",
                "Leave 'encoding' out.",
            )
        name = marked or name
    return "utf-8-sig" if name == "utf-8" else name


def decoded_chunks(path: Path, encoding: str = AUTO) -> Iterator[str]:
    """The text of a file in pieces, a mark at its beginning dropped, each carriage return + line feed a line feed.

    Raises `CorpusError` with the place where the bytes are not in the encoding, or not text (a NUL character).
    """
    with opened(path) as stream:
        yield from decoded(path, encoding, stream)


def decoded(path: Path, encoding: str, stream: ByteStream) -> Iterator[str]:
    """As `decoded_chunks`, of the opened `stream` of a file."""
    held_back = ""
    codec = decoder_of(path, encoding, stream.head)
    decoder = codecs.getincrementaldecoder(codec)("strict")
    while True:
        chunk = stream.file.read(CHUNK_BYTES)
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise undecodable(path, codec) from error
        if "\0" in text:
            raise not_text(path, codec)
        text = (held_back + text).replace("\r\n", "\n")
        # A carriage return at the very end may be the first half of a line end.
        held_back = "\r" if text.endswith("\r") and chunk else ""
        yield text.removesuffix("\r") if held_back else text
        if not chunk:
            return


@contextmanager
def text_lines(path: Path, encoding: str, newline: str) -> Iterator[TextLines]:
    """The lines of a file; `newline` as for `open`. Raises `CorpusError` as `decoded_chunks` does."""
    with opened(path) as stream:
        codec = decoder_of(path, encoding, stream.head)
        reader = io.TextIOWrapper(stream.file, encoding=codec, errors="strict", newline=newline)
        try:
            yield TextLines(_lines(path, codec, reader), stream)
        except UnicodeDecodeError as error:
            raise undecodable(path, codec) from error


def _lines(path: Path, codec: str, reader: io.TextIOWrapper) -> Iterator[str]:
    number = 0
    while line := reader.readline(LARGEST_ROW_BYTES):
        number += 1
        if len(line) >= LARGEST_ROW_BYTES:
            raise too_long(path, number)
        if "\0" in line:
            raise not_text(path, codec)
        yield line


def too_long(path: Path, line: int) -> CorpusError:
    """The error for a row that would fill the memory."""
    return CorpusError(
        f"{shown(path)[1:-1]}:{line}: the row is longer than {LARGEST_ROW_BYTES >> 20} MiB.", "Split the row."
    )


def not_text(path: Path, codec: str) -> CorpusError:
    """The error for a file with a NUL character, with its place."""
    line = 1
    decoder = codecs.getincrementaldecoder(codec)("strict")
    with opened(path) as stream:
        while chunk := stream.file.read(CHUNK_BYTES):
            text = decoder.decode(chunk)
            end = text.find("\0")
            line += text.count("\n", 0, end if end >= 0 else None)
            if end >= 0:
                break
    wide = "" if codec.startswith(("utf-16", "utf-32")) else "; of UTF-16 without a mark, 'encoding: utf-16-le'"
    return CorpusError(
        f"{shown(path)[1:-1]}:{line}: not text: a NUL character stands in it.",
        f"Give text, or say what it is by 'format'{wide}.",
    )


def undecodable(path: Path, codec: str) -> CorpusError:
    """The error for bytes that `codec` cannot decode: where they are, and what they look like."""
    decoder = codecs.getincrementaldecoder(codec)("strict")
    line, done = 1, 0
    with opened(path) as stream:
        while True:
            pending = len(_pending(decoder))
            chunk = stream.file.read(CHUNK_BYTES)
            try:
                line += decoder.decode(chunk, final=not chunk).count("\n")
            except UnicodeDecodeError as error:
                data, start = error.object, error.start
                line += bytes(data[:start]).decode(codec, "ignore").count("\n")
                return _undecodable(path, codec, line, done - pending + start, bytes(data), start)
            done += len(chunk)
            if not chunk:
                return CorpusError(f"{shown(path)} changed while it was being read.", "Run again.")


def _pending(decoder: codecs.IncrementalDecoder) -> bytes:
    state = decoder.getstate()[0]
    return state if isinstance(state, bytes) else b""


def _undecodable(path: Path, codec: str, line: int, offset: int, data: bytes, start: int) -> CorpusError:
    name = codec.removesuffix("-sig").upper() if codec.startswith("utf") else codec
    where = f"byte {offset:,}" + (f" (0x{data[start]:02x})" if start < len(data) else "")
    guess = _guess(data, start)
    looks = f"It looks like {guess[0]} ({guess[1]}): if so, say 'encoding: {guess[0]}'." if guess else ""
    return CorpusError(
        f"{shown(path)[1:-1]}:{line}: not {name}: {where} cannot be decoded.",
        looks or "Say what it is by 'encoding', for example 'encoding: cp1252', or convert it to UTF-8.",
    )


def _guess(data: bytes, start: int) -> tuple[str, str] | None:
    """An encoding that `data` may be in, and the characters around `start` as it has them; None without an idea."""
    start -= start % 4  # so that letters of two or four bytes are met at their beginning
    begin = max(0, start - _SAMPLE_BYTES // 2)
    sample = data[begin : begin + _SAMPLE_BYTES]
    matches = from_bytes(sample)
    best = matches.best()
    if best is None:
        return None
    possible = {name for match in matches for name in (match.encoding, *match.could_be_from_charset)}
    name = next((name for name in _PLAUSIBLE if name in possible), best.encoding)
    near = sample[max(0, start - begin - _SHOWN_CHARACTERS) : start - begin + _SHOWN_CHARACTERS]
    text = near.decode(name, "ignore")
    return name, "'" + "".join(letter if letter.isprintable() else " " for letter in text).strip() + "'"
