"""What does a model read at once? Windows as the rows of a batch, each filled up on its right to the widest of them.

A window has a width of its own, its length rounded up, which depends on nothing but the window. Whatever is kept of a
window is computed at that width; a batch is as wide as its widest window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

SMALLEST_STEP = 8
"""Widths are multiples of so many tokens, as the products of matrices like them."""
STEPS_OF_A_DOUBLING = 16
"""From one power of two to the next there are so many widths at most: few kinds of rows are kept."""


def widths_of(lengths: NDArray[np.int64], longest: int) -> NDArray[np.int64]:
    """[windows] the width of each window, `longest` at most: its length, rounded up by a sixteenth or to eight."""
    powers = np.exp2(np.floor(np.log2(np.maximum(lengths, 1)))).astype(np.int64)
    steps = np.maximum(powers // STEPS_OF_A_DOUBLING, SMALLEST_STEP)
    return np.minimum(-(-lengths // steps) * steps, longest)


@dataclass(frozen=True)
class Batch:
    """Windows as the model reads them."""

    input_ids: NDArray[np.int64]
    """[batch, sequence]"""
    labels: NDArray[np.int64]
    """[batch, sequence]: the label of a position is its own token (the loss shifts), -100 where it does not count."""
    attention_mask: NDArray[np.int64] | None
    """[batch, sequence], 0 at padding; None where nothing is padded, or where the model needs not be told."""
    window_ids: tuple[int, ...]
    """First token of each window in the corpus; of conversations, the number of the window."""
    windows_sha256: str
    """SHA-256 of the corpus's tokens, the windows' length, beginning and ids: equal hashes, equal batches."""
    lengths: tuple[int, ...] | None = None
    """Tokens of each window, which its padding follows; None where nothing is padded."""
    widths: tuple[int, ...] | None = None
    """The width of each window alone; None where all have that of the batch."""

    @property
    def is_token(self) -> NDArray[np.bool_] | None:
        """[batch, sequence], False at padding; None where nothing is padded."""
        if self.lengths is None:
            return None if self.attention_mask is None else self.attention_mask.astype(np.bool_)
        is_token: NDArray[np.bool_] = np.arange(self.input_ids.shape[1]) < np.array(self.lengths)[:, np.newaxis]
        return is_token

    def at_own_width(self, row: int) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """Token ids and mask, [width] each, of one window as it is beside no other."""
        width = None if self.widths is None else self.widths[row]
        full = self.lengths is not None and self.lengths[row] == width
        mask = None if full or self.attention_mask is None else self.attention_mask[row, :width]
        return self.input_ids[row, :width], mask

    def of_rows(self, rows: Sequence[int]) -> Batch:
        """The windows in `rows` alone, in this order, as wide as the widest of them."""
        chosen = list(rows)
        lengths = None if self.lengths is None else tuple(self.lengths[row] for row in chosen)
        widths = None if self.widths is None else tuple(self.widths[row] for row in chosen)
        width = None if widths is None else max(widths)
        padded = lengths is None or min(lengths) != width
        return replace(
            self,
            input_ids=self.input_ids[chosen, :width],
            labels=self.labels[chosen, :width],
            attention_mask=self.attention_mask[chosen, :width] if self.attention_mask is not None and padded else None,
            window_ids=tuple(self.window_ids[row] for row in chosen),
            lengths=lengths if padded else None,
            widths=widths if padded else None,
        )
