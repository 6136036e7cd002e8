"""Which text do the signals look at? A few training windows, never held-out ones: those judge the choice later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    return Sample(tuple(drawn.of_rows([row]) for row in range(found)))


def counted(batch: Batch) -> int:
    """Predictions that the loss over `batch` counts."""
    return int((batch.labels[:, 1:] != NOT_COUNTED).sum())


def joined(parts: Sequence[Batch]) -> Batch:
    """The windows of `parts` as one batch, as wide as the widest."""
    width = max(part.input_ids.shape[1] for part in parts)
    masks = None
    if any(part.attention_mask is not None for part in parts):
        masks = np.concatenate([_filled(_mask_of(part), width, 0) for part in parts])
    padded = masks is not None or any(part.lengths is not None or part.input_ids.shape[1] < width for part in parts)
    sizes = [[part.input_ids.shape[1]] * len(part.input_ids) for part in parts]
    pairs = list(zip(parts, sizes, strict=True))
    return Batch(
        np.concatenate([_filled(part.input_ids, width, 0) for part in parts]),
        np.concatenate([_filled(part.labels, width, NOT_COUNTED) for part in parts]),
        masks,
        tuple(window for part in parts for window in part.window_ids),
        parts[0].windows_sha256,
        tuple(length for part, own in pairs for length in part.lengths or own) if padded else None,
        tuple(length for part, own in pairs for length in part.widths or own) if padded else None,
    )


def _mask_of(part: Batch) -> NDArray[np.int64]:
    return np.ones_like(part.input_ids) if part.attention_mask is None else part.attention_mask


def _filled(rows: NDArray[np.int64], width: int, value: int) -> NDArray[np.int64]:
    """`rows`, filled up with `value` on their right."""
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=value)
