"""Which n-grams of a generated text stand verbatim in the training text? Their 64-bit hashes are looked for in it.

An n-gram's hash is the sum of its tokens' mixed values, each times an odd constant of its place, modulo 2**64
(multilinear hashing). The training text is hashed as it is read, once for all texts that are asked about, and nothing
of it is kept: memory and disk go by what is asked. That one of a thousand n-grams meets another's hash among a thousand
million is less likely than one in ten million; hits are therefore not compared token by token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frostline.corpus.order import raw_numbers
from frostline.storage import Facts, bounded_entry, code_sha256

QUICK_TOKENS = 1 << 23
"""What is found among so many tokens takes a fraction of a second, and is not kept in the cache folder."""
CHUNK_TOKENS = 1 << 20
_BLOCK_TOKENS = 1 << 13
"""So many at once stay in a processor's nearest memory."""
FOUND_FILE = "found.bin"
_FILTER_BITS = 16


def ngram_hashes(ids: NDArray[np.integer], n: int) -> NDArray[np.uint64]:
    """[max(tokens - n + 1, 0)] hash of the n-gram that begins at each token."""
    count = max(ids.size - n + 1, 0)
    factors = raw_numbers(0, "n-gram", n, n) | np.uint64(1)
    hashes = np.zeros(count, dtype=np.uint64)
    for start in range(0, count, _BLOCK_TOKENS):
        block = hashes[start : start + _BLOCK_TOKENS]
        mixed = _mix(ids[start : start + block.size + n - 1].astype(np.uint64))
        for place, factor in enumerate(factors):
            block += mixed[place : place + block.size] * factor
        block[:] = _mix(block)
    return hashes


def copied_from_training(
    texts: Sequence[Sequence[int]],
    ids: NDArray[np.unsignedinteger],
    stretches: NDArray[np.int64],
    n: int,
    cache: Path,
    sha256: str,
) -> list[tuple[int, int]]:
    """(n-grams in it, how many of them lie inside one of `stretches` of `ids`) for each of `texts`; `ids` is read once.

    `stretches` is [stretches, 2], first token and end; `sha256` names `ids`. Raises as `found_in_training` does.
    """
    hashes = [ngram_hashes(np.asarray(text, dtype=np.int64), n) for text in texts]
    wanted = np.unique(np.concatenate([np.empty(0, dtype=np.uint64), *hashes]))
    copied = wanted[found_in_training(wanted, ids, stretches, n, cache, sha256)]
    return [(int(own.size), int(np.isin(own, copied).sum())) for own in hashes]


def found_in_training(
    wanted: NDArray[np.uint64],
    ids: NDArray[np.unsignedinteger],
    stretches: NDArray[np.int64],
    n: int,
    cache: Path,
    sha256: str,
) -> NDArray[np.bool_]:
    """Which of the sorted hashes `wanted` are those of an n-gram inside one of `stretches`; memory goes by `wanted`.

    `sha256` names `ids`. What a large corpus gives is kept in the cache folder. Raises `CacheError` if that is full.
    """
    if wanted.size == 0 or stretches.size == 0:
        return np.zeros(wanted.size, dtype=np.bool_)
    if ids.size <= QUICK_TOKENS:
        return _found(wanted, _chunks(ids, stretches, n))
    layout = hashlib.sha256(stretches.astype("<i8").tobytes() + wanted.astype("<u8").tobytes()).hexdigest()
    key = hashlib.sha256(f"found:{code_sha256(('corpus',))}:{sha256}:{layout}:{n}".encode()).hexdigest()

    def write(folder: Path) -> Facts:
        found = _found(wanted, _chunks(ids, stretches, n))
        (folder / FOUND_FILE).write_bytes(found.tobytes())
        return {"found": int(found.sum())}

    entry, in_use = bounded_entry(cache / "ngrams", key, write)
    found = np.fromfile(entry.folder / FOUND_FILE, dtype=np.bool_)
    if in_use is not None:
        in_use.release()
    return found


def _found(wanted: NDArray[np.uint64], chunks: Iterator[NDArray[np.uint64]]) -> NDArray[np.bool_]:
    found = np.zeros(wanted.size, dtype=np.bool_)
    # Few of many hashes begin as a wanted one does: only these are searched for.
    shift = np.uint64(64 - _FILTER_BITS)
    begins = np.zeros(1 << _FILTER_BITS, dtype=np.bool_)
    begins[wanted >> shift] = True
    for hashes in chunks:
        likely = hashes[begins[hashes >> shift]]
        places = np.minimum(np.searchsorted(wanted, likely), wanted.size - 1)
        found[places[wanted[places] == likely]] = True
    return found


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014, section 5): spreads each bit over all 64."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _chunks(ids: NDArray[np.unsignedinteger], stretches: NDArray[np.int64], n: int) -> Iterator[NDArray[np.uint64]]:
    """Hashes of the n-grams that lie inside a stretch; stretches are sorted and may be many and short."""
    if stretches.size == 0:
        return
    begins, ends = stretches.T
    for start in range(int(begins[0]), int(ends[-1]), CHUNK_TOKENS):
        hashes = ngram_hashes(ids[start : start + CHUNK_TOKENS + n - 1], n)
        # N-grams from a stretch's first token to the last at which one fits: up at the one, down behind the other.
        near = slice(np.searchsorted(ends, start, side="right"), np.searchsorted(begins, start + hashes.size))
        first = np.maximum(begins[near] - start, 0)
        last = np.minimum(ends[near] - n + 1 - start, hashes.size)
        change = np.zeros(hashes.size + 1, dtype=np.int8)
        change[first[first < last]] += 1
        change[last[first < last]] -= 1
        yield hashes[np.cumsum(change[:-1], dtype=np.int8) > 0]
