"""Batches of random tokens, as a corpus would hand them out."""

from __future__ import annotations

import hashlib

import numpy as np

from frostline.corpus import NOT_COUNTED, Batch
from frostline.corpus.batch import widths_of


def random_batch(step: int, *, rows: int = 4, length: int = 12, vocabulary: int = 97, seed: int = 0) -> Batch:
    """`rows` windows of random tokens, a pure function of the arguments."""
    generator = np.random.default_rng([seed, step])
    input_ids = generator.integers(3, vocabulary, size=(rows, length), dtype=np.int64)
    window_ids = tuple(range(step * rows, (step + 1) * rows))
    return Batch(
        input_ids=input_ids,
        labels=input_ids.copy(),
        attention_mask=None,
        window_ids=window_ids,
        windows_sha256=hashlib.sha256(repr(window_ids).encode()).hexdigest(),
    )


def uneven_batch(lengths: list[int], *, vocabulary: int = 97, longest: int = 1 << 20) -> Batch:
    """Windows of these lengths, padded on the right with 0, of which the second half is counted; named by their row."""
    widths = widths_of(np.array(lengths), longest)
    place, draw = np.arange(int(widths.max())), np.random.default_rng(lengths)
    is_token = place < np.array(lengths)[:, np.newaxis]
    ids = np.where(is_token, draw.integers(1, vocabulary, is_token.shape), 0)
    counted = is_token & (place >= np.array(lengths)[:, np.newaxis] // 2)
    labels = np.where(counted, ids, NOT_COUNTED)
    padded = not is_token.all()
    return Batch(
        ids,
        labels,
        is_token.astype(np.int64) if padded else None,
        tuple(range(len(lengths))),
        "",
        tuple(lengths) if padded else None,
        tuple(widths.tolist()) if padded else None,
    )
