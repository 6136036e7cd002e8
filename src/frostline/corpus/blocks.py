"""Where may a long text be cut for tokenising? Into blocks of half a million characters, at the best border in reach.

Each block is tokenised alone: its borders define the tokenisation, and they depend on the text only, never on how it
was read. The preferred border is a single line end between two lines with text, where byte-level tokenizers end a
token anyway, so that cutting changes no token; text without any white space is cut all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

BLOCK_CHARACTERS = 1 << 19
REACH_CHARACTERS = 1 << 16
"""How far back from its largest size a block looks for a good border."""

# Greedy, so that the last border in the stretch is found. Each looks ahead: a match never ends beyond the block.
_BORDERS = (
    re.compile(r".*\S\n(?=\S)", re.DOTALL),  # after a line with text, before another
    re.compile(r".*\n(?=.)", re.DOTALL),  # after any line end
    re.compile(r".*\S(?= \S)", re.DOTALL),  # before the space of a word
    re.compile(r".*\s(?=.)", re.DOTALL),  # after any white space
)


def cut_into_blocks(pieces: Iterable[str], size: int = BLOCK_CHARACTERS) -> Iterator[str]:
    """The text of `pieces` as blocks of at most `size` characters; joined, they are the text again."""
    buffer = ""
    waiting: list[str] = []
    length = 0
    for piece in pieces:
        waiting.append(piece)
        length += len(piece)
        if length <= size:
            continue
        buffer, waiting = "".join(waiting), []
        start = 0
        while len(buffer) - start > size:
            end = _border(buffer, start, start + size)
            yield buffer[start:end]
            start = end
        waiting, length = [buffer[start:]], len(buffer) - start
    if length:
        yield "".join(waiting)


def _border(text: str, start: int, end: int) -> int:
    """The best place in `text[start:end]` to end a block that begins at `start`."""
    reach = max(start, end - min(REACH_CHARACTERS, (end - start) // 2 + 1))
    for border in _BORDERS:
        # `text[end]` is there: the look-ahead sees one character beyond the block.
        found = border.match(text, reach, end + 1)
        if found:
            return found.end()
    return end
