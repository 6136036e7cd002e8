"""How does each process get its rows of a gradient that all computed parts of? By adding parts up in their order.

A reduce-scatter adds in an order of its own, which depends on the library, on the number of processes and on how they
are connected. Here each process gets every other's piece as it is and adds them up in the order of the parts of the
step, starting from what earlier parts gave: additions are those of one process, element by element. As much travels as
in a reduce-scatter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from frostline.engine.shards import add_in_order, exchanged


@dataclass
class Round:
    """Which parts of a step are being computed: process r has the r-th of them, where there are as many."""

    computed: int = 0
    """How many processes have one; what the others have computed, so as to take part, is not counted."""


class OrderedScatter:
    """What `fully_shard` is given as its reduce-scatter, for one layer."""

    def __init__(self, now: Round) -> None:
        self._now = now
        self._total: Tensor | None = None
        """[values] of the rounds of this step so far: the memory of the gradients that the layer has now."""

    def allocate(self, size: Sequence[int | torch.SymInt], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Memory for what is sent or received."""
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: dist.ProcessGroup,
        op: object,
        async_op: bool = False,
    ) -> None:
        """Write into `output_tensor` the sum over all parts so far of what `input_tensor` has for this process."""
        pieces = exchanged(input_tensor, group)[: self._now.computed]
        self._total = output_tensor.copy_(add_in_order(self._total, list(pieces)))

    def forget(self) -> None:
        """The step is over, or another begins."""
        self._total = None


def give_ordered_scatter(layer: FSDPModule, now: Round) -> OrderedScatter:
    """Let gradients of `layer` be summed by an `OrderedScatter`, undivided."""
    scatter = OrderedScatter(now)
    layer.set_custom_reduce_scatter(scatter)  # type: ignore[arg-type]  # it has the methods, and torch's class no more
    layer.set_gradient_divide_factor(1.0)
    layer.set_force_sum_reduction_for_comms(True)
    if hasattr(layer, "set_reduce_scatter_unused_params"):  # not in every torch that is supported
        layer.set_reduce_scatter_unused_params(True)  # an expert that no token of this process chose
    return scatter
