"""Is it worth keeping the prefix's output, or is recomputing it cheaper? Arithmetic on measured rates, and a sentence.

A window that is read `n` times costs n passes through prefix and suffix if its row is not kept; if it is, one of these,
one write, and n - 1 passes through the suffix, while which the next rows are read: max(suffix, read). Rows that do not
fit are computed each time, which changes nothing for those that do.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from frostline.readable import percent, rough_seconds, rough_size

SMALLEST_SHARE = 0.1
"""Share of the windows that must fit, else looking for rows is not worth it."""
_SAMPLE_BYTES = 4_000_000
_REPEATS = 5


@dataclass(frozen=True)
class PrefixChoice:
    use: bool
    sentence: str
    """What is printed: the decision and the numbers behind it."""


@dataclass(frozen=True)
class PrefixCase:
    """What storing the prefix of one arm is about: `depth` of `layers` layers are frozen at its bottom."""

    wanted: Literal["auto", "always", "never"]
    depth: int
    layers: int
    row_bytes: int
    """Bytes of one window's row."""
    compute_seconds: float
    """Seconds to compute it."""
    reads_per_window: float
    """How often a window is read by all arms and replicates; with random offsets `arms_sharing` counts instead."""
    order: Literal["epochs", "random"]
    arms_sharing: int
    """Arms whose prefixes one step computes once."""
    windows: int
    room_bytes: int
    suffix_seconds: float = 0.0
    """Seconds of a step for one window besides that: so much of reading costs nothing, as the next rows are read."""
    filled: bool = False
    """Whether all rows are made before training, whatever that costs: the layers are not there after it."""


@dataclass(frozen=True)
class StoreRates:
    """How fast rows are kept and come back, in bytes a second."""

    read: float
    write: float


def choose_prefix(case: PrefixCase, rates: StoreRates) -> PrefixChoice:
    """Decide for one arm.

    `always` overrides what storing costs and how much fits, but not what makes storing impossible or pointless.
    """
    if case.filled and case.depth > 0:
        read = rough_seconds(case.row_bytes / rates.read)
        return PrefixChoice(
            True,
            f"Prefix cache: on, filled before training. {case.depth} of {case.layers} layers are frozen at the bottom; "
            f"a window is {rough_size(case.row_bytes)} to keep and {read} to read.",
        )
    impossible = _impossible(case)
    if impossible is not None:
        return PrefixChoice(False, f"Prefix cache: off. {impossible}")
    costs = _Costs(
        compute=case.compute_seconds,
        read=case.row_bytes / rates.read,
        write=case.row_bytes / rates.write,
        # With random offsets a row is read in the step that wrote it: there is nothing to read ahead.
        suffix=0.0 if case.order == "random" else case.suffix_seconds,
        reads=float(case.arms_sharing) if case.order == "random" else case.reads_per_window,
    )
    needed_bytes = case.windows * case.row_bytes
    fitting = 1.0 if case.order == "random" else min(1.0, case.room_bytes / needed_bytes)
    if case.wanted == "auto":
        refusal = costs.refusal(case.row_bytes) or _refusal_for_room(fitting, needed_bytes, case.room_bytes)
        if refusal is not None:
            return PrefixChoice(False, f"Prefix cache: off. {refusal}")
    on = "on" if case.wanted == "auto" else "on (training.prefix_cache.use: always)"
    return PrefixChoice(
        True,
        f"Prefix cache: {on}. {case.depth} of {case.layers} layers are frozen at the bottom; "
        f"a window is {rough_size(case.row_bytes)} to keep, {rough_seconds(costs.compute)} to compute and "
        f"{rough_seconds(costs.read)} to read, and is read {costs.reads:.1f} times."
        + _limits(case, fitting, needed_bytes),
    )


@cache
def measured_rates() -> StoreRates:
    """The rates of this machine. Takes some 40 ms, once."""
    return StoreRates(
        # copied out of the disk's cache and checked; the first time that a process reads it, it is hashed instead
        read=_best_rate(lambda sample: zlib.crc32(sample.copy().data).to_bytes(4)),
        # copied for memory, hashed and checked, copied to the disk's cache
        write=_best_rate(
            lambda sample: (
                hashlib.sha256(sample.copy().data).digest()
                + zlib.crc32(sample.data).to_bytes(4)
                + sample.copy().data[:1]
            )
        ),
    )


@dataclass(frozen=True)
class _Costs:
    """Seconds for one window."""

    compute: float
    read: float
    write: float
    suffix: float
    reads: float

    def refusal(self, row_bytes: int) -> str | None:
        """Why storing does not pay; None if it does."""
        if self.reads <= 1:
            return "Each window is read only once and no other arm shares it, so nothing is gained by storing."
        numbers = (
            f"a window is {rough_size(row_bytes)}, {rough_seconds(self.compute)} to compute, "
            f"{rough_seconds(self.write)} to write and {rough_seconds(self.read)} to read"
        )
        if self.read >= self.compute + self.suffix:
            return f"Reading is slower than computing: {numbers}."
        stored = max(self.suffix, self.read)
        if self.write + (self.reads - 1) * stored >= (self.reads - 1) * (self.compute + self.suffix):
            return f"Writing costs more than is saved in {self.reads:.1f} reads: {numbers}."
        return None


def _impossible(case: PrefixCase) -> str | None:
    if case.wanted == "never":
        return "The recipe says so (training.prefix_cache.use: never)."
    if case.depth == 0:
        return "The embeddings or layer 0 train, so nothing can be stored."
    if case.order == "random" and case.arms_sharing < 2:
        return "With random offsets windows do not come back, so storing cannot help across steps."
    return None


def _refusal_for_room(fitting: float, needed_bytes: int, room_bytes: int) -> str | None:
    if fitting >= SMALLEST_SHARE:
        return None
    return (
        f"All windows need {rough_size(needed_bytes)} and there is room for {rough_size(room_bytes)}, less "
        "than a tenth. Raise training.prefix_cache.memory_mb or training.prefix_cache.disk_mb."
    )


def _limits(case: PrefixCase, fitting: float, needed_bytes: int) -> str:
    if case.order == "random":
        return (
            " With random offsets windows do not come back, so storing cannot help across steps, "
            f"but the {case.arms_sharing} arms of one step share one pass."
        )
    if fitting < 1:
        return (
            f" There is room for {percent(fitting, 0)} of the windows ({rough_size(needed_bytes)}); the others are "
            "computed each time. Raise training.prefix_cache.memory_mb or training.prefix_cache.disk_mb to keep more."
        )
    return ""


def _best_rate(handle: Callable[[NDArray[np.uint8]], bytes]) -> float:
    sample = np.arange(_SAMPLE_BYTES, dtype=np.uint8)
    seconds = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        handle(sample)
        seconds.append(time.perf_counter() - started)
    return _SAMPLE_BYTES / max(min(seconds), 1e-9)
