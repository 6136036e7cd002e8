"""How are the rows of all windows made while only one layer is in memory? Layer by layer over all windows.

Each layer takes the hidden states of every window one step up, so that its weights are needed during one stretch only:
a model that no memory holds is read once, and not once a batch. Windows go through a layer one at a time, as they do
where rows are computed when they are asked for: both have the same bits.

Rows stay at the depths at which an arm starts; states between two layers go when the next layer is done. A fill that
was killed finds both again, and loses the window that it was at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frostline.engine.prefix import Prefix
from frostline.engine.prefix_file import DIGEST_BYTES, HEADER_BYTES
from frostline.engine.prefix_passing import PassingRows
from frostline.engine.prefix_store import PrefixStore, window_key
from frostline.errors import CacheError

LayerInUse = Callable[[int], AbstractContextManager[None]]
"""Around the stretch in which a layer, counted from 0, is used: what makes it fit to use, and lets go of it."""
RECORD_BYTES = HEADER_BYTES + DIGEST_BYTES
"""What a row takes on disk besides itself."""
GIGABYTE = 1e9


@dataclass(frozen=True)
class FillWindow:
    """One window that will be read."""

    input_ids: NDArray[np.int64]
    """[sequence]"""
    attention_mask: NDArray[np.int64] | None
    """[sequence]; None where nothing is padded."""
    key: bytes

    @classmethod
    def of(cls, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64] | None) -> FillWindow:
        """A row of a batch, as the arms will ask for it."""
        return cls(input_ids, attention_mask, window_key(input_ids, attention_mask))


@dataclass(frozen=True)
class FilledLayer:
    """One layer, done for all windows."""

    layer: int
    """Counted from 0."""
    windows: int
    """Windows whose rows are wanted."""
    computed: int
    """Those that were not there yet."""
    written_bytes: int
    """Size of the hidden states that were computed."""
    seconds: float


@dataclass(frozen=True)
class FillNeeds:
    """What a fill still has to keep, in bytes; on disk each row has a header and a digest beside it."""

    windows: int
    rows_bytes: int
    """Rows that are missing."""
    passing_bytes: int
    """States between two layers, at most."""
    whole_bytes: int
    """Rows that are missing and those that are there."""

    @property
    def nothing(self) -> bool:
        """Whether every row is there."""
        return self.rows_bytes == 0


def is_filled(store: PrefixStore, windows: Sequence[FillWindow], depths: Sequence[int]) -> bool:
    """Whether the store has a row of every window at every depth."""
    return all(store.holds(window.key, depth) for depth in depths for window in windows)


def fill_needs(prefix: Prefix, windows: Sequence[FillWindow], depths: Sequence[int]) -> FillNeeds:
    """What filling these windows at these depths takes."""
    sizes = [prefix.row_bytes(len(window.input_ids)) + RECORD_BYTES for window in windows]
    rows = passing = below = 0
    for depth in sorted(depths):
        pairs = zip(windows, sizes, strict=True)
        missing = sum(size for window, size in pairs if not prefix.store.holds(window.key, depth))
        rows += missing
        passing = max(passing, missing * min(2, depth - below - 1))
        below = depth
    return FillNeeds(len(windows), rows, passing, sum(sizes) * len(depths))


def require_room_for_fill(store: PrefixStore, needs: FillNeeds) -> bool:
    """Whether the fill goes to the disk; if not, all of it has room in memory. Raises `CacheError` where neither."""
    disk_bytes, memory_bytes = store.disk_room_bytes, store.memory_bound_bytes
    needed_bytes = needs.rows_bytes + needs.passing_bytes
    if needs.nothing or needed_bytes <= disk_bytes:
        return True
    if needs.whole_bytes + needs.passing_bytes <= memory_bytes:
        return False
    why = store.statistics().reason
    room_bytes = max(disk_bytes, memory_bytes) if store.folder is None else disk_bytes
    raise CacheError(
        f"{store.place}: the rows of {needs.windows:,} windows need {needed_bytes / GIGABYTE:,.3g} GB, and there is "
        f"room for {room_bytes / GIGABYTE:,.3g} GB. {why}".strip(),
        "Free some, raise training.prefix_cache.disk_mb, or read fewer windows (training.steps, corpus.tokens).",
    )


def fill_rows(
    prefix: Prefix,
    windows: Sequence[FillWindow],
    depths: Sequence[int],
    *,
    layer_in_use: LayerInUse = lambda layer: nullcontext(),
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[FilledLayer]:
    """Make the rows of `windows` at each of `depths`, and yield each layer when it is done, the lowest first.

    `tell` is told how many windows have passed a layer, of how many. Raises `CacheError` where there is no room for
    them, before anything is computed.
    """
    store = prefix.store
    on_disk = require_room_for_fill(store, fill_needs(prefix, windows, depths))
    total, done = max(depths) * len(windows), 0
    with closing(_passing(store, on_disk=on_disk)) as passing:
        for below, depth in zip([0, *sorted(depths)], sorted(depths), strict=False):
            missing = [window for window in windows if not store.holds(window.key, depth)]
            for layer in range(below, depth):
                began, written, computed = time.perf_counter(), 0, 0
                left = [window for window in missing if _is_below(store, passing, window.key, layer + 1, depth)]
                done += len(windows) - len(left)
                with layer_in_use(layer) if left else nullcontext():
                    for window in left:
                        row = _one_layer_up(prefix, passing, window, layer, below)
                        _keep(store, passing, window.key, layer + 1, row, stays=layer + 1 == depth)
                        written, computed, done = written + row.nbytes, computed + 1, done + 1
                        tell(done, total)
                if layer + 1 == depth:
                    _require_kept(store, missing, depth)
                passing.drop(layer)
                yield FilledLayer(layer, len(windows), computed, written, time.perf_counter() - began)
        passing.drop(max(depths))


def _passing(store: PrefixStore, *, on_disk: bool) -> PassingRows:
    try:
        return PassingRows(store.folder if on_disk else None, store.owner)
    except OSError as error:
        raise _disk_trouble(store, error) from error


def _is_below(store: PrefixStore, passing: PassingRows, window: bytes, depth: int, end: int) -> bool:
    """Whether the window has not reached `depth` on its way to `end`."""
    return not store.holds(window, end) and passing.reached(window, end) < depth


def _one_layer_up(prefix: Prefix, passing: PassingRows, window: FillWindow, layer: int, below: int) -> Tensor:
    """What `layer` makes of the window; what is missing below it (its record was damaged) is computed with it."""
    state = passing.find(window.key, layer) if layer > below else None
    start = (layer, state) if state is not None else prefix.store.deepest(window.key, layer)
    input_ids = torch.from_numpy(window.input_ids[None])
    mask = None if window.attention_mask is None else torch.from_numpy(window.attention_mask[None])
    return prefix.compute(input_ids, mask, [layer + 1], start)[layer + 1]


def _keep(store: PrefixStore, passing: PassingRows, window: bytes, depth: int, row: Tensor, *, stays: bool) -> None:
    if stays:
        store.put(window, depth, row)
        return
    store.require_unchanged()
    try:
        passing.put(window, depth, row)
    except OSError as error:
        raise _disk_trouble(store, error) from error


def _require_kept(store: PrefixStore, windows: Sequence[FillWindow], depth: int) -> None:
    """Raise `CacheError` where a row that was put has found no place."""
    store.flush()
    if all(store.holds(window.key, depth) for window in windows):
        return
    raise CacheError(
        f"the fill of stored rows has stopped. {store.statistics().reason}",
        "What was filled is kept: free some space, then go on with 'frostline resume'.",
    )


def _disk_trouble(store: PrefixStore, error: OSError) -> CacheError:
    return CacheError(
        f"{store.place}: the fill of stored rows cannot be written ({error.strerror or error}).",
        "What was filled is kept: free some space, then go on with 'frostline resume'.",
    )
