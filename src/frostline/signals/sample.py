"""Which text do the signals look at? A few training windows, never held-out ones: those judge the choice later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frostline.corpus import NOT_COUNTED, Batch, Corpus
from frostline.errors import CorpusError

WINDOWS = 16
FEWEST_WINDOWS = 4
SEED = 0
"""Seed of the order from which the windows are taken, whatever the replicate: all replicates share what is chosen."""


@dataclass(frozen=True)
class Sample:
    """Windows one by one, so that each can have a gradient of its own."""

    windows: tuple[Batch, ...]

    @property
    def predictions(self) -> int:
        """Tokens that a loss over the sample counts."""
        return sum(counted(window) for window in self.windows)

    def batches(self, size: int) -> list[Batch]:
        """The same windows, `size` at a time."""
        return [joined(self.windows[start : start + size]) for start in range(0, len(self.windows), size)]


def take_sample(corpus: Corpus, windows: int = WINDOWS) -> Sample:
    """`windows` training windows, fewer where there are fewer. Raises `CorpusError` below `FEWEST_WINDOWS`."""
    found = min(windows, corpus.windows)
    if found < FEWEST_WINDOWS:
        raise CorpusError(
            f"{corpus.description} has {corpus.windows} training windows; looking inside the model takes "
            f"{FEWEST_WINDOWS} or more.",
            "Use shorter windows (windows.length), hold out fewer (windows.held_out), or give more text.",
        )
    drawn = corpus.batch(SEED, 0, found)
    return Sample(tuple(_row(drawn, index) for index in range(found)))


def counted(batch: Batch) -> int:
    """Predictions that the loss over `batch` counts."""
    return int((batch.labels[:, 1:] != NOT_COUNTED).sum())


def _row(batch: Batch, index: int) -> Batch:
    mask = batch.attention_mask
    rows = slice(index, index + 1)
    return Batch(
        batch.input_ids[rows],
        batch.labels[rows],
        None if mask is None else mask[rows],
        batch.window_ids[rows],
        batch.windows_sha256,
    )


def joined(parts: Sequence[Batch]) -> Batch:
    """The windows of `parts` as one batch."""
    masks = [part.attention_mask for part in parts if part.attention_mask is not None]
    return Batch(
        np.concatenate([part.input_ids for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate(masks) if masks else None,
        tuple(window for part in parts for window in part.window_ids),
        parts[0].windows_sha256,
    )
