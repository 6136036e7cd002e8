"""How are all cores kept at work while a text becomes tokens? Many blocks at a time, the next ones while some are kept.

The tokenizer cuts the blocks of a batch side by side, without Python's lock; meanwhile the next batch is read, and the
one before made into lists and written. Each block is cut alone, so that batches of any size give the same tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from frostline.corpus.blocks import BLOCK_CHARACTERS
from frostline.corpus.read import Block
from frostline.corpus.special import Cut, Markers, cut_texts, ids_of
from frostline.system import usable_cores

BLOCKS_OF_A_CORE = 2
"""So many for each core, as some take longer than others."""
BATCH_TEXTS = 2048
"""Texts of a core at most: short documents are not joined into blocks."""

Tokenised = tuple[list[Block], list[list[int]]]
"""Blocks, and the token ids of each."""


def in_batches(read: Iterator[Block], markers: Markers, separator: str | None) -> Iterator[Tokenised]:
    """The blocks of `read` with their tokens, on all cores; a batch ahead of what is asked for."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenizer") as worker:
        under_way: tuple[list[Block], Future[list[Cut]]] | None = None
        for blocks in _batches(read, usable_cores()):
            cut = worker.submit(_cut, markers, blocks, separator)
            if under_way is not None:
                yield under_way[0], [ids_of(one) for one in under_way[1].result()]
            under_way = blocks, cut
        if under_way is not None:
            yield under_way[0], [ids_of(one) for one in under_way[1].result()]


def one_by_one(read: Iterator[Block], markers: Markers, separator: str | None) -> Iterator[Tokenised]:
    """The same without looking ahead, in batches that are the same on every machine.

    Whoever stops in between has read what was needed, and the same anywhere.
    """
    for blocks in _batches(read, 1):
        yield blocks, [ids_of(one) for one in _cut(markers, blocks, separator)]


def _cut(markers: Markers, blocks: list[Block], separator: str | None) -> list[Cut]:
    return cut_texts(markers, [block.text for block in blocks], separator)


def _batches(read: Iterator[Block], cores: int) -> Iterator[list[Block]]:
    """Blocks, as many at a time as are worth a call of the tokenizer."""
    blocks: list[Block] = []
    characters = 0
    for block in read:
        blocks.append(block)
        characters += len(block.text)
        if characters >= cores * BLOCKS_OF_A_CORE * BLOCK_CHARACTERS or len(blocks) >= cores * BATCH_TEXTS:
            yield blocks
            blocks, characters = [], 0
    if blocks:
        yield blocks
