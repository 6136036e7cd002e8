"""Who reads what when? Numbers that depend on (seed, purpose, counter) alone, whoever asks and in whatever order.

Each draw has a Philox generator of its own, keyed by the SHA-256 of seed, purpose and counter. Only its raw 64-bit
stream is used, which numpy promises never to change (Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3").
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def raw_numbers(seed: int, purpose: str, counter: int, count: int) -> NDArray[np.uint64]:
    """`count` uniform 64-bit numbers; the first ones do not depend on `count`."""
    digest = hashlib.sha256(f"frostline:{purpose}:{seed}:{counter}".encode()).digest()
    return np.random.Philox(key=int.from_bytes(digest[:16], "big")).random_raw(count)


def permutation(seed: int, purpose: str, counter: int, count: int) -> NDArray[np.int64]:
    """The numbers 0 to count - 1, shuffled: a stable sort of as many random numbers."""
    return np.argsort(raw_numbers(seed, purpose, counter, count), kind="stable").astype(np.int64)


def below(seed: int, purpose: str, counter: int, limit: int, count: int) -> NDArray[np.int64]:
    """`count` numbers drawn evenly from 0 to limit - 1.

    By remainder: a number's probability is off by less than limit / 2**64 of itself, under 2**-32 for any corpus of
    fewer than four thousand million tokens.
    """
    return (raw_numbers(seed, purpose, counter, count) % np.uint64(limit)).astype(np.int64)


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, windows: int) -> NDArray[np.int64]:
    """The order in which epoch `epoch` visits the training windows: a permutation of 0 to windows - 1, read-only."""
    order = permutation(seed, "epoch", epoch, windows)
    order.setflags(write=False)
    return order


def positions_of_step(seed: int, step: int, size: int, windows: int) -> NDArray[np.int64]:
    """The `size` training windows that step `step` reads: the next stretch of the shuffled epochs, end to end."""
    places = np.arange(step * size, (step + 1) * size, dtype=np.int64)
    epochs = places // windows
    chosen = np.empty(size, dtype=np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        chosen[here] = epoch_order(seed, int(epoch), windows)[places[here] % windows]
    return chosen
