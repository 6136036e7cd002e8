"""Is it worth keeping the prefix's output, or is recomputing it cheaper? Arithmetic on measured rates, and a sentence.

A window that is read `n` times costs n computations if its row is not kept; if it is, one computation, one write and
n - 1 reads. Rows that do not fit are computed each time, which changes nothing for those that do.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from frostline.engine.readable import readable_bytes, readable_seconds

SMALLEST_SHARE = 0.1
"""Share of the windows that must fit, else looking for rows is not worth it."""
_SAMPLE_BYTES = 4_000_000
_REPEATS = 5


@dataclass(frozen=True)
class PrefixChoice:
    use: bool
    sentence: str
    """What is printed: the decision and the numbers behind it."""


def choose_prefix(
    *,
    wanted: Literal["auto", "always", "never"],
    depth: int,
    layers: int,
    row_bytes: int,
    row_flops: float,
    flops_per_second: float,
    read_bytes_per_second: float,
    write_bytes_per_second: float,
    reads_per_window: float,
    order: Literal["epochs", "random"],
    arms_sharing: int,
    deterministic: bool,
    room_bytes: int,
    windows: int,
) -> PrefixChoice:
    """Decide for one arm with `depth` of `layers` layers frozen at the bottom.

    `row_bytes` and `row_flops` are of one window's prefix; `reads_per_window` counts all arms and replicates (with
    random offsets it is `arms_sharing`: the arms whose prefixes one step computes once). `always` overrides what
    storing costs and how much fits, but not what makes storing impossible or pointless.
    """
    impossible = _impossible(wanted, depth, order, arms_sharing, deterministic)
    if impossible is not None:
        return PrefixChoice(False, f"Prefix cache: off. {impossible}")
    costs = _Costs(
        compute=row_flops / flops_per_second if flops_per_second > 0 else 0.0,
        read=row_bytes / read_bytes_per_second,
        write=row_bytes / write_bytes_per_second,
        reads=float(arms_sharing) if order == "random" else reads_per_window,
    )
    fitting = 1.0 if order == "random" else min(1.0, room_bytes / (windows * row_bytes))
    if wanted == "auto":
        refusal = costs.refusal(row_bytes) or _refusal_for_room(fitting, windows * row_bytes, room_bytes)
        if refusal is not None:
            return PrefixChoice(False, f"Prefix cache: off. {refusal}")
    on = "on" if wanted == "auto" else "on (training.prefix_cache.use: always)"
    return PrefixChoice(
        True,
        f"Prefix cache: {on}. {depth} of {layers} layers are frozen at the bottom; "
        f"a window is {readable_bytes(row_bytes)} to keep, {readable_seconds(costs.compute)} to compute and "
        f"{readable_seconds(costs.read)} to read, and is read {costs.reads:.1f} times."
        + _limits(order, arms_sharing, fitting, windows * row_bytes),
    )


@cache
def measure_read_rate() -> float:
    """Bytes a second at which a row comes from the disk's cache: copied once and hashed. Takes some 20 ms, once."""
    return _best_rate(lambda sample: hashlib.sha256(sample.copy().data).digest())


@cache
def measure_write_rate() -> float:
    """Bytes a second at which a row is kept: copied for memory, hashed, copied to the disk's cache. Also 20 ms."""
    return _best_rate(lambda sample: hashlib.sha256(sample.copy().data).digest() + sample.copy().data[:1])


@dataclass(frozen=True)
class _Costs:
    """Seconds for one window."""

    compute: float
    read: float
    write: float
    reads: float

    def refusal(self, row_bytes: int) -> str | None:
        """Why storing does not pay; None if it does."""
        if self.reads <= 1:
            return "Each window is read only once and no other arm shares it, so nothing is gained by storing."
        numbers = (
            f"a window is {readable_bytes(row_bytes)}, {readable_seconds(self.compute)} to compute, "
            f"{readable_seconds(self.write)} to write and {readable_seconds(self.read)} to read"
        )
        if self.read >= self.compute:
            return f"Reading is slower than computing: {numbers}."
        if self.write + (self.reads - 1) * self.read >= (self.reads - 1) * self.compute:
            return f"Writing costs more than is saved in {self.reads:.1f} reads: {numbers}."
        return None


def _impossible(wanted: str, depth: int, order: str, arms_sharing: int, deterministic: bool) -> str | None:
    if wanted == "never":
        return "The recipe says so (training.prefix_cache.use: never)."
    if depth == 0:
        return "The embeddings or layer 0 train, so nothing can be stored."
    if not deterministic:
        return "There is dropout below the lowest trained layer, so its input differs each time and cannot be stored."
    if order == "random" and arms_sharing < 2:
        return "With random offsets windows do not come back, so storing cannot help across steps."
    return None


def _refusal_for_room(fitting: float, needed_bytes: int, room_bytes: int) -> str | None:
    if fitting >= SMALLEST_SHARE:
        return None
    return (
        f"All windows need {readable_bytes(needed_bytes)} and there is room for {readable_bytes(room_bytes)}, less "
        "than a tenth. Raise training.prefix_cache.memory_mb or training.prefix_cache.disk_mb."
    )


def _limits(order: str, arms_sharing: int, fitting: float, needed_bytes: int) -> str:
    if order == "random":
        return (
            " With random offsets windows do not come back, so storing cannot help across steps, "
            f"but the {arms_sharing} arms of one step share one pass."
        )
    if fitting < 1:
        return (
            f" There is room for {100 * fitting:.0f} % of the windows ({readable_bytes(needed_bytes)}); the others are "
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
