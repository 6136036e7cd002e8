"""How is a series of any length drawn from a bounded memory? In buckets of equal numbers of steps, lowest to highest.

A curve has no more points than a screen has columns. So values are gathered in buckets of `stride` steps, a power of
two that doubles whenever there are too many of them; each bucket knows its extremes, so that no spike is lost, and its
mean, so that two series can be subtracted bucket by bucket. Only what is drawn is thinned: the journal keeps all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

MOST_BUCKETS = 512


@dataclass
class Bucket:
    """The values of some neighbouring steps."""

    count: int
    total: float
    low: float
    high: float

    def take(self, other: Bucket) -> None:
        self.count, self.total = self.count + other.count, self.total + other.total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)


class Series:
    """Values over steps that count up. A value that is not finite is left out."""

    def __init__(self, most: int = MOST_BUCKETS) -> None:
        self.most = most
        self.stride = 1
        self.last_step = -1
        self._buckets: dict[int, Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def add(self, step: int, value: float) -> None:
        self.last_step = max(self.last_step, step)
        if not math.isfinite(value):
            return
        self._into(self._buckets, step // self.stride, Bucket(1, value, value, value))
        while len(self._buckets) > self.most:
            self.stride *= 2
            wider: dict[int, Bucket] = {}
            for index, bucket in self._buckets.items():
                self._into(wider, index // 2, bucket)
            self._buckets = wider

    def points(self, first: int = 0) -> Iterator[list[float]]:
        """From bucket number `first` on: its first step, lowest and highest value, mean, and number of values."""
        for number, (index, own) in enumerate(self._buckets.items()):
            if number >= first:
                values = (_short(own.low), _short(own.high), _short(own.total / own.count))
                yield [index * self.stride, *values, own.count]

    @staticmethod
    def _into(buckets: dict[int, Bucket], index: int, bucket: Bucket) -> None:
        if index in buckets:
            buckets[index].take(bucket)
        else:
            buckets[index] = bucket


def _short(value: float) -> float:
    """Six digits: more than a screen shows."""
    return float(f"{value:.6g}")
