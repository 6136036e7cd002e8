"""Which windows of a step go through the model together? Those of like width, as many as have room.

A part is as wide as its widest window, so what is shorter is filled up for nothing. The windows of a step are therefore
ordered by width and cut where that costs least: a part more costs about as much as some tokens more. Which windows a
step has is settled before; how they are cut is a function of their widths and of the kind of device, so that every arm
cuts the same step alike. Windows of one width stay in their order, a pass of `batch` of them after another.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from frostline.corpus import Batch

PART_TOKENS = {"cpu": 24}
"""Tokens that cost as much as another part does, by type of device: a processor takes them one after another."""
PART_TOKENS_ELSEWHERE = 1024
"""The same where many tokens are computed at once, so that small parts leave most of the device idle."""


def split_batch(batch: Batch, passes: int, device: str = "cpu") -> list[Batch]:
    """The windows of a step as parts, computed one after another, none of more than a pass has of the step's windows.

    Where all windows have one width these are the `passes`, of equal size, in order.
    """
    windows = len(batch.input_ids)
    size = windows // passes
    return [batch.of_rows(rows) for rows in cut_like_widths(batch, size, device)]


def largest_part(batch: Batch, passes: int, device: str = "cpu") -> Batch:
    """The part of a step that has the most tokens."""
    return max(split_batch(batch, passes, device), key=lambda part: part.input_ids.size)


def cut_like_widths(batch: Batch, size: int, device: str = "cpu") -> list[list[int]]:
    """The rows of `batch` in parts of at most `size` windows of like width; in order where all have one width."""
    windows = len(batch.input_ids)
    if batch.widths is None:
        return [list(range(start, min(start + size, windows))) for start in range(0, windows, size)]
    widths = np.array(batch.widths, dtype=np.int64)
    order = np.argsort(-widths, kind="stable")
    cuts = _cheapest_cuts(widths[order], size, PART_TOKENS.get(device, PART_TOKENS_ELSEWHERE))
    return [part.tolist() for part in np.split(order, cuts)]


def _cheapest_cuts(widths: NDArray[np.int64], size: int, part_tokens: int) -> list[int]:
    """Where to cut windows whose widths fall, into parts of at most `size`: fewest tokens, each part's own included."""
    cost = np.zeros(widths.size + 1, dtype=np.int64)
    begin = np.zeros(widths.size + 1, dtype=np.int64)
    for end in range(1, widths.size + 1):
        begins = np.arange(max(0, end - size), end)
        costs = cost[begins] + widths[begins] * (end - begins) + part_tokens
        best = int(np.argmin(costs))
        cost[end], begin[end] = costs[best], begins[best]
    cuts, end = [], int(begin[-1])
    while end:
        cuts.append(end)
        end = int(begin[end])
    return cuts[::-1]
