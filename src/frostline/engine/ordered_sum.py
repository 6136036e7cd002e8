"""How do several processes get the gradient that one would get? By adding up the parts of a step in the parts' order.

Floating-point addition depends on its order, so a plain reduction over processes gives other bits for each number of
them. Here process r gets the r-th piece of every part's gradient, adds the pieces up in the order of the parts, and
sends the sum to all: the additions are those of one process, element by element, and each value travels twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from frostline.engine.world import World, reaching

BUCKET_BYTES = 64 << 20
"""Gradients that travel at once, more only where one alone is larger."""
NOTHING = -0.0
"""What a part adds that has no gradient: x + -0.0 is x, bit for bit, and so is -0.0 + x."""


@dataclass
class _Bucket:
    parameters: list[int]
    """Places among all parameters."""
    piece: int
    """Values that one process adds up."""
    total: Tensor
    """[piece] this process's piece of the sum so far."""


class OrderedSum:
    """The gradients of the parts of one step, summed over the parts in their order."""

    def __init__(self, world: World, parameters: Sequence[nn.Parameter]) -> None:
        self.world, self.parameters = world, parameters
        self._has_gradient = [False] * len(parameters)
        self._buckets = [self._bucket(places) for places in _cut(parameters)]

    def without_gradient(self) -> list[int]:
        """Places of the parameters that have none after this process's part; to be told to all before `add`."""
        return [place for place, parameter in enumerate(self.parameters) if parameter.grad is None]

    def add(self, missing: Sequence[Sequence[int]]) -> None:
        """Add the parts that the processes have just computed, in the order of their ranks.

        `missing` says for each rank that had a part which parameters have no gradient. The gradients of this process
        are taken away from its parameters.
        """
        for places in missing:
            absent = set(places)
            for place in range(len(self.parameters)):
                self._has_gradient[place] |= place not in absent
        for bucket in self._buckets:
            sent = bucket.total.new_full((self.world.size * bucket.piece,), NOTHING)
            for place, start, end in self._places(bucket):
                gradient = self.parameters[place].grad
                if gradient is not None:
                    sent[start:end] = gradient.reshape(-1)
                    self.parameters[place].grad = None
            received = torch.empty_like(sent)
            with reaching():
                dist.all_to_all_single(received, sent, group=self.world.gradients)
            for part in received.view(self.world.size, bucket.piece)[: len(missing)]:
                bucket.total += part

    def give(self) -> None:
        """Give every parameter the sum as its gradient; None where no part had one."""
        for bucket in self._buckets:
            whole = bucket.total.new_empty(self.world.size * bucket.piece)
            with reaching():
                dist.all_gather(list(whole.view(self.world.size, -1)), bucket.total, group=self.world.gradients)
            for place, start, end in self._places(bucket):
                if self._has_gradient[place]:
                    parameter = self.parameters[place]
                    # Memory of its own, laid out as autograd lays it out: norms are summed in the order of memory.
                    parameter.grad = torch.empty_like(parameter).copy_(whole[start:end].view(parameter.shape))

    def _bucket(self, places: list[int]) -> _Bucket:
        first = self.parameters[places[0]]
        values = sum(self.parameters[place].numel() for place in places)
        piece = -(-values // self.world.size)
        return _Bucket(places, piece, torch.full((piece,), NOTHING, dtype=first.dtype, device=first.device))

    def _places(self, bucket: _Bucket) -> Iterator[tuple[int, int, int]]:
        start = 0
        for place in bucket.parameters:
            end = start + self.parameters[place].numel()
            yield place, start, end
            start = end


def _cut(parameters: Sequence[nn.Parameter]) -> Iterator[list[int]]:
    """Places of neighbours of one type, as many as fill a bucket."""
    places: list[int] = []
    size = 0
    for place, parameter in enumerate(parameters):
        other_type = bool(places) and parameters[places[0]].dtype != parameter.dtype
        if places and (other_type or size + parameter.nbytes > BUCKET_BYTES):
            yield places
            places, size = [], 0
        places.append(place)
        size += parameter.nbytes
    if places:
        yield places
