"""What stands twice? Rows of a table, documents of a folder, paragraphs of a plain text, told apart by 64-bit hashes.

They are equal where their text is, letter by letter (white space around a paragraph aside). That any two of a hundred
million different ones have one hash is less likely than one in three thousand; a hash more or less is a row more or
less in a count. Hashes are kept as numbers of 8 bytes: as objects of Python they would fill the memory.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from frostline.corpus.read import Block
from frostline.corpus.tally import Tally

REPEATED = "that repeat an earlier one"
LONGEST_PARAGRAPH = 1 << 20
"""Characters after which a paragraph without end is taken for one."""
_FIRST_BITS = 10
_BLANK_LINES = re.compile(r"\n\s*\n")


class Seen:
    """A set of 64-bit hashes in 12 to 24 bytes each, where Python's own takes 90: a table with open addressing."""

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 << _FIRST_BITS))
        self._count = 0

    def add(self, number: int) -> bool:
        """Take `number` in; whether it was there already."""
        number = number or 1  # 0 is an empty place
        table = self._table
        mask = len(table) - 1
        place = number & mask
        while (there := table[place]) != number:
            if not there:
                table[place] = number
                self._count += 1
                if 3 * self._count > 2 * len(table):
                    self._grow()
                return False
            place = (place + 1) & mask
        return True

    def _grow(self) -> None:
        before = self._table
        self._table, self._count = array("Q", bytes(16 * len(before))), 0
        for number in before:
            if number:
                self.add(number)


class Documents:
    """Which documents of a stream are equal, and where their tokens stand."""

    def __init__(self) -> None:
        self._hashes = array("Q")
        self._starts = array("q")
        self._open: hashlib.blake2b | None = None

    def take(self, block: Block, tokens: int) -> None:
        """The next block of the stream, whose first token will be number `tokens`."""
        if block.opens_document or self._open is None:
            self._close()
            self._starts.append(tokens)
            self._open = hashlib.blake2b(digest_size=8)
        self._open.update(block.text.encode())

    def repeated(self, tokens: int) -> tuple[int, NDArray[np.int64]]:
        """(documents that repeat an earlier one, [spans, 3] of all that stand more than once).

        A span is first token, end, and a number that its copies share.
        """
        self._close()
        hashes = np.frombuffer(self._hashes, dtype=np.uint64)
        order = np.argsort(hashes, kind="stable")
        hashes = hashes[order]
        repeats = np.zeros(hashes.size, dtype=np.bool_)
        repeats[1:] = hashes[1:] == hashes[:-1]
        again = repeats.copy()
        again[:-1] |= repeats[1:]
        numbers = np.cumsum(~repeats)[again]
        rows = order[again]
        starts = np.frombuffer(self._starts, dtype=np.int64)
        ends = np.append(starts[1:], tokens)
        spans = np.stack((starts[rows], ends[rows], numbers), axis=1)
        return int(np.count_nonzero(repeats)), spans[np.argsort(rows)]

    def _close(self) -> None:
        if self._open is not None:
            self._hashes.append(_number(self._open))
            self._open = None


class Paragraphs:
    """The paragraphs of a plain text, separated by blank lines, and how many of them repeat an earlier one."""

    def __init__(self) -> None:
        self.repeats = 0
        self._rest = ""

    def take(self, text: str, *, last: bool = False) -> Iterator[tuple[str, int]]:
        """Each paragraph that `text` completes, with the blank lines behind it, and its hash; 0 for a blank one."""
        text = self._rest + text
        begin = 0
        for blank in _BLANK_LINES.finditer(text):
            yield text[begin : blank.end()], _paragraph_hash(text[begin : blank.start()])
            begin = blank.end()
        self._rest = text[begin:]
        if self._rest and (last or len(self._rest) > LONGEST_PARAGRAPH):
            yield self._rest, _paragraph_hash(self._rest)
            self._rest = ""


def count_paragraphs(blocks: Iterator[Block], paragraphs: Paragraphs) -> Iterator[Block]:
    """`blocks` as they are, their repeated paragraphs counted."""
    hashes = array("Q")
    for block in blocks:
        hashes.extend(number for _, number in paragraphs.take(block.text) if number)
        yield block
    hashes.extend(number for _, number in paragraphs.take("", last=True) if number)
    ordered = np.sort(np.frombuffer(hashes, dtype=np.uint64))
    paragraphs.repeats = int(np.count_nonzero(ordered[1:] == ordered[:-1]))


def without_repeated_paragraphs(blocks: Iterator[Block], paragraphs: Paragraphs) -> Iterator[Block]:
    """The text of `blocks` without paragraphs that repeat an earlier one."""
    seen = Seen()

    def kept(text: str, *, last: bool = False) -> str:
        pieces = []
        for piece, number in paragraphs.take(text, last=last):
            if number and seen.add(number):
                paragraphs.repeats += 1
            else:
                pieces.append(piece)
        return "".join(pieces)

    block = Block("", True, 0)
    opens = True
    for block in blocks:
        if text := kept(block.text):
            yield Block(text, opens, block.bytes_read)
            opens = False
    if text := kept("", last=True):
        yield Block(text, opens, block.bytes_read)


def without_repeated_documents(blocks: Iterator[Block], tally: Tally) -> Iterator[Block]:
    """The documents of `blocks` that repeat no earlier one; the others are left out and counted in `tally`."""
    seen = Seen()
    waiting: list[Block] = []
    documents = number = 0

    def closed() -> list[Block]:
        content = hashlib.blake2b(digest_size=8)
        for block in waiting:
            content.update(block.text.encode())
        if seen.add(_number(content)):
            tally.leave_out(REPEATED, f"row {number:,}" if tally.rows else f"document {documents:,}")
            return []
        return waiting

    for block in blocks:
        if block.opens_document and waiting:
            yield from closed()
            waiting = []
        if not waiting:
            documents, number = documents + 1, tally.rows
            block = replace(block, opens_document=True)
        waiting.append(block)
    if waiting:
        yield from closed()


def window_hashes(tokens: NDArray[np.int64]) -> NDArray[np.uint64]:
    """[windows] hash of the tokens of each row of `tokens` [windows, length]."""
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in tokens)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _number(content: hashlib.blake2b) -> int:
    """The 64 bits of a hash."""
    return int.from_bytes(content.digest(), "little")


def _paragraph_hash(paragraph: str) -> int:
    paragraph = paragraph.strip()
    return _number(hashlib.blake2b(paragraph.encode(), digest_size=8)) or 1 if paragraph else 0
