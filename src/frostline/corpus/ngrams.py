"""Which n-grams of a generated text stand verbatim in the training text? Sorted 64-bit hashes of all of them tell.

An n-gram's hash is the sum of its tokens' mixed values, each times an odd constant of its place, modulo 2**64
(multilinear hashing). A query is a binary search. That one of a thousand queries meets another n-gram's hash among a
thousand million is less likely than one in ten million; hits are therefore not compared token by token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frostline.corpus.order import raw_numbers
from frostline.storage import Facts, cached_entry, code_sha256

IN_MEMORY = 1 << 23
"""Up to this many n-grams (64 MiB of hashes) live in memory; more are sorted on disk."""
CHUNK_TOKENS = 1 << 20
_BLOCK_TOKENS = 1 << 13
"""So many at once stay in a processor's nearest memory."""
HASHES_FILE, FOUND_FILE = "hashes.bin", "found.bin"
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


def training_hashes(
    ids: NDArray[np.unsignedinteger], stretches: NDArray[np.int64], n: int, cache: Path, sha256: str
) -> NDArray[np.uint64]:
    """All distinct hashes of n-grams that lie inside one of `stretches` ([stretches, 2], first token and end), sorted.

    `sha256` names `ids`. A large corpus is sorted in the cache folder and mapped from there. Raises `CorpusError` if
    that is full.
    """
    lengths = stretches[:, 1] - stretches[:, 0]
    total = int(np.maximum(lengths - n + 1, 0).sum())
    if total <= IN_MEMORY:
        return np.unique(np.concatenate([np.empty(0, dtype=np.uint64), *_chunks(ids, stretches, n)]))
    layout = hashlib.sha256(stretches.astype("<i8").tobytes()).hexdigest()
    key = hashlib.sha256(f"{code_sha256(('corpus',))}:{sha256}:{layout}:{n}".encode()).hexdigest()

    def write(folder: Path) -> Facts:
        return {"ngrams": _sort_on_disk(_chunks(ids, stretches, n), total, folder)}

    entry = cached_entry(cache / "ngrams", key, write)
    return np.asarray(np.memmap(entry.folder / HASHES_FILE, dtype="<u8", mode="r"))


def count_copied(token_ids: NDArray[np.int64], n: int, known: NDArray[np.uint64]) -> tuple[int, int]:
    """(n-grams in `token_ids`, how many of them are among the sorted hashes `known`)."""
    hashes = ngram_hashes(token_ids, n)
    if hashes.size == 0 or known.size == 0:
        return int(hashes.size), 0
    places = np.minimum(np.searchsorted(known, hashes), known.size - 1)
    return int(hashes.size), int((known[places] == hashes).sum())


def found_in_training(
    wanted: NDArray[np.uint64],
    ids: NDArray[np.unsignedinteger],
    stretches: NDArray[np.int64],
    n: int,
    cache: Path,
    sha256: str,
) -> NDArray[np.bool_]:
    """Which of the sorted hashes `wanted` are those of an n-gram inside one of `stretches`; memory goes by `wanted`.

    What a large corpus gives is kept in the cache folder, as `training_hashes` keeps it. Raises `CorpusError` if that
    is full.
    """
    if wanted.size == 0 or stretches.size == 0:
        return np.zeros(wanted.size, dtype=np.bool_)
    if ids.size <= IN_MEMORY:
        return _found(wanted, _chunks(ids, stretches, n))
    layout = hashlib.sha256(stretches.astype("<i8").tobytes() + wanted.astype("<u8").tobytes()).hexdigest()
    key = hashlib.sha256(f"found:{code_sha256(('corpus',))}:{sha256}:{layout}:{n}".encode()).hexdigest()

    def write(folder: Path) -> Facts:
        found = _found(wanted, _chunks(ids, stretches, n))
        (folder / FOUND_FILE).write_bytes(found.tobytes())
        return {"found": int(found.sum())}

    entry = cached_entry(cache / "ngrams", key, write)
    return np.fromfile(entry.folder / FOUND_FILE, dtype=np.bool_)


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


def _sort_on_disk(chunks: Iterator[NDArray[np.uint64]], total: int, folder: Path) -> int:
    """Write the distinct hashes of `chunks` to `folder`, sorted, by way of one file for each range of hashes."""
    # A power of two of ranges, each of which fits into memory several times over.
    bits = max((8 * total // IN_MEMORY).bit_length(), 1)
    ranges = [folder / f"range-{number}" for number in range(1 << bits)]
    for hashes in chunks:
        hashes.sort()
        borders = np.searchsorted(hashes >> np.uint64(64 - bits), np.arange((1 << bits) + 1, dtype=np.uint64))
        for number, path in enumerate(ranges):
            part = hashes[borders[number] : borders[number + 1]]
            if part.size:
                with path.open("ab") as file:
                    file.write(part.astype("<u8").tobytes())
    written = 0
    with (folder / HASHES_FILE).open("wb") as target:
        for path in ranges:
            if path.exists():
                distinct = np.unique(np.fromfile(path, dtype="<u8"))
                target.write(distinct.tobytes())
                written += distinct.size
                path.unlink()
    return written
