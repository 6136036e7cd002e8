"""Batches of random tokens, as a corpus would hand them out."""

from __future__ import annotations

import hashlib

import numpy as np

from frostline.corpus import Batch


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
