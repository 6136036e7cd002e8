"""What do several processes hold of a parameter that none of them holds whole? Each its rows, as many as the others.

Rows are counted along dimension 0, and the last processes may have fewer, or none. What is sent is padded, so that
every process sends and receives as much. A sum over processes is taken in the order in which one process would take it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from frostline.plans import Shard
from frostline.tensor_bytes import value_type


def rows_each(rows: int, size: int) -> int:
    """Rows of every process but the last ones, of a parameter of `rows` rows that `size` processes hold."""
    return -(-rows // size)


def own_rows(whole: Tensor, rank: int, size: int) -> Tensor:
    """The rows of `whole` that process `rank` of `size` holds; a view."""
    each = rows_each(len(whole), size)
    return whole[rank * each : (rank + 1) * each]


@torch.no_grad()
def gathered(shard: Shard, group: dist.ProcessGroup) -> Tensor:
    """All rows, in memory of their own: every process of `group` must ask for them."""
    size = group.size()
    sent = _padded(shard.rows.detach(), shard, size)
    found = sent.new_empty((size, *sent.shape))
    dist.all_gather(list(found.unbind()), sent, group=group)
    return found.view(-1, *shard.shape[1:])[: shard.shape[0]]


def exchanged(sent: Tensor, group: dist.ProcessGroup) -> Tensor:
    """[processes, values] what each process of `group` had for this one; `sent` has as much for each of them."""
    received = torch.empty_like(sent)
    dist.all_to_all_single(received, sent, group=group)
    return received.view(group.size(), -1)


def add_in_order(total: Tensor | None, pieces: Sequence[Tensor]) -> Tensor:
    """`total`, where there is one, and then each of `pieces`, added up in this order in memory of its own."""
    first, rest = (pieces[0], pieces[1:]) if total is None else (total, pieces)
    found = first.clone()
    for piece in rest:
        found += piece
    return found


@torch.no_grad()
def norms_of(shards: Sequence[Shard], group: dist.ProcessGroup) -> list[Tensor]:
    """The norm of each gradient, with the bits that one process gets: a sum of sums would have others.

    Each gradient goes to one process, as many at once as there are processes; of all that is trained, a process gets
    its share.
    """
    rank, size, found = group.rank(), group.size(), []
    for first in range(0, len(shards), size):
        some = shards[first : first + size]
        values = [rows_each(own.shape[0], size) * math.prod(own.shape[1:]) for own in some]
        values += [0] * (size - len(some))
        sent = torch.cat([_padded(own.rows.grad, own, size).view(-1) for own in some if own.rows.grad is not None])
        received = sent.new_empty(size * values[rank])
        dist.all_to_all_single(received, sent, [values[rank]] * size, values, group=group)
        norm = sent.new_zeros(())
        if rank < len(some):
            whole = received.view(-1, *some[rank].shape[1:])[: some[rank].shape[0]]
            norm = torch.nn.utils.get_total_norm([whole])
        norms = [torch.empty_like(norm) for _ in range(size)]
        dist.all_gather(norms, norm, group=group)
        found += norms[: len(some)]
    return found


def let_go_of_whole(parameter: nn.Parameter) -> None:
    """Let go of the memory of a parameter that is held in rows now, whoever still has the parameter."""
    parameter.data = parameter.data.new_empty(0)


def _padded(rows: Tensor, shard: Shard, size: int) -> Tensor:
    each = rows_each(shard.shape[0], size)
    if len(rows) == each:
        return rows.contiguous()
    padded = rows.new_zeros((each, *shard.shape[1:]))
    padded[: len(rows)] = rows
    return padded


class HeldOutside:
    """A parameter outside the decoder layers, such as the embeddings: whole during a step, in rows between two.

    Its modules name the rows as their parameter; what would use them unawares fails by their shape.
    """

    def __init__(
        self, parameter: nn.Parameter, places: Sequence[tuple[nn.Module, str]], group: dist.ProcessGroup
    ) -> None:
        """`places` are all modules that have the parameter, each with its name there: a tied head is one of two."""
        self._places, self._group = places, group
        rows = own_rows(parameter.detach(), group.rank(), group.size())
        # What trains is held in fp32; what is not this process's has not been made.
        rows = rows.to(value_type(rows), copy=True, memory_format=torch.contiguous_format)
        own = nn.Parameter(rows, requires_grad=parameter.requires_grad)
        self.shard = Shard(own, own, tuple(parameter.shape))
        self._name(own)
        let_go_of_whole(parameter)

    @contextmanager
    def whole(self) -> Iterator[nn.Parameter]:
        """In the block the modules have all of it."""
        # Memory that is made in inference mode could not be trained with.
        with torch.inference_mode(False):
            found = nn.Parameter(gathered(self.shard, self._group), requires_grad=self.shard.rows.requires_grad)
        self._name(found)
        try:
            yield found
        finally:
            self._name(self.shard.rows)

    @torch.no_grad()
    def add_gradients(self, whole: nn.Parameter, computed: int) -> None:
        """Add to the rows' gradient what the first `computed` processes have in that of `whole`, which loses it."""
        rows, size = self.shard.rows, self._group.size()
        if not rows.requires_grad:
            return
        each = rows_each(len(whole), size)
        sent = whole.new_zeros((size * each, *whole.shape[1:]))
        if whole.grad is not None:
            sent[: len(whole)] = whole.grad
            whole.grad = None
        received = exchanged(sent.view(-1), self._group)
        pieces = [piece.view(each, *whole.shape[1:])[: len(rows)] for piece in received[:computed]]
        rows.grad = add_in_order(rows.grad, pieces)

    def _name(self, parameter: nn.Parameter) -> None:
        for module, name in self._places:
            module._parameters[name] = parameter
