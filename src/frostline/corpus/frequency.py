"""Which tokens are common in the training text, and which are rare? Classes by the rank of a token's count there.

By Zipf's law the count of a token falls about as its rank rises, so that classes of ten times as many tokens each hold
about as much of the text.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RANKS = (10, 100, 1_000)
"""The last rank of each class but the rarest."""
FREQUENCY_CLASSES = (
    "10 most frequent tokens",
    "rank 11 to 100",
    "rank 101 to 1,000",
    "rarer",
    "not in the training text",
)
"""What each class holds."""
CHUNK = 1 << 22
"""Tokens that are counted at once."""


def training_counts(
    ids: NDArray[np.unsignedinteger], counts: NDArray[np.int64], stretches: NDArray[np.int64]
) -> NDArray[np.int64]:
    """[vocabulary] how often each token stands in `stretches` [stretches, 2] of `ids`; `counts` are those of all `ids`.

    What lies between the stretches, most often little, is taken off.
    """
    order = np.argsort(stretches[:, 0], kind="stable")
    begins = np.concatenate(([0], stretches[order, 1]))
    ends = np.concatenate((stretches[order, 0], [ids.size]))
    found = counts.copy()
    for begin, end in zip(begins[ends > begins].tolist(), ends[ends > begins].tolist(), strict=True):
        for start in range(begin, end, CHUNK):
            found -= np.bincount(ids[start : min(start + CHUNK, end)], minlength=counts.size)
    return found


def frequency_classes(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """[vocabulary] place in `FREQUENCY_CLASSES` of each token, by how often it stands in the training text.

    The smaller id comes first among equals.
    """
    ranks = np.empty(counts.size, dtype=np.int64)
    ranks[np.argsort(-counts, kind="stable")] = np.arange(1, counts.size + 1)
    classes = np.searchsorted(np.array(RANKS), ranks).astype(np.int64)
    classes[counts == 0] = len(RANKS) + 1
    return classes
