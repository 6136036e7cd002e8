"""What stands twice? Rows of a table, documents of a folder, paragraphs of a plain text, told apart by 64-bit hashes.

They are equal where their text is, letter by letter (white space around a paragraph aside). That any two of a hundred
million different ones have one hash is less likely than one in three thousand; a hash more or less is a row more or
less in a count.
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
_BLANK_LINES = re.compile(r"\n\s*\n")


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
        hashes = np.array(self._hashes, dtype=np.uint64)
        distinct, which, times = np.unique(hashes, return_inverse=True, return_counts=True)
        starts = np.array(self._starts, dtype=np.int64)
        ends = np.append(starts, tokens)[1:]
        return int(hashes.size - distinct.size), np.stack((starts, ends, which), axis=1)[times[which] > 1]

    def _close(self) -> None:
        if self._open is not None:
            self._hashes.append(int.from_bytes(self._open.digest(), "little"))
            self._open = None


class Paragraphs:
    """Which paragraphs of a plain text, separated by blank lines, repeat an earlier one."""

    def __init__(self) -> None:
        self.repeats = 0
        self._seen: set[int] = set()
        self._rest = ""

    def take(self, text: str, *, last: bool = False) -> Iterator[tuple[str, bool]]:
        """Each paragraph that `text` completes, with the blank lines behind it, and whether it repeats one."""
        text = self._rest + text
        begin = 0
        for blank in _BLANK_LINES.finditer(text):
            yield text[begin : blank.end()], self._repeats(text[begin : blank.start()])
            begin = blank.end()
        self._rest = text[begin:]
        if self._rest and (last or len(self._rest) > LONGEST_PARAGRAPH):
            yield self._rest, self._repeats(self._rest)
            self._rest = ""

    def _repeats(self, paragraph: str) -> bool:
        paragraph = paragraph.strip()
        if not paragraph:
            return False
        number = int.from_bytes(hashlib.blake2b(paragraph.encode(), digest_size=8).digest(), "little")
        if number in self._seen:
            self.repeats += 1
            return True
        self._seen.add(number)
        return False


def count_paragraphs(blocks: Iterator[Block], paragraphs: Paragraphs) -> Iterator[Block]:
    """`blocks` as they are, their repeated paragraphs counted."""
    for block in blocks:
        for _ in paragraphs.take(block.text):
            pass
        yield block
    for _ in paragraphs.take("", last=True):
        pass


def without_repeated_paragraphs(blocks: Iterator[Block], paragraphs: Paragraphs) -> Iterator[Block]:
    """The text of `blocks` without paragraphs that repeat an earlier one."""
    block = Block("", True, 0)
    opens = True
    for block in blocks:
        text = "".join(text for text, repeats in paragraphs.take(block.text) if not repeats)
        if text:
            yield Block(text, opens, block.bytes_read)
            opens = False
    text = "".join(text for text, repeats in paragraphs.take("", last=True) if not repeats)
    if text:
        yield Block(text, opens, block.bytes_read)


def without_repeated_documents(blocks: Iterator[Block], tally: Tally) -> Iterator[Block]:
    """The documents of `blocks` that repeat no earlier one; the others are left out and counted in `tally`."""
    seen: set[bytes] = set()
    waiting: list[Block] = []
    documents = number = 0

    def closed() -> list[Block]:
        content = hashlib.blake2b(digest_size=8)
        for block in waiting:
            content.update(block.text.encode())
        if content.digest() in seen:
            tally.leave_out(REPEATED, f"row {number:,}" if tally.rows else f"document {documents:,}")
            return []
        seen.add(content.digest())
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
