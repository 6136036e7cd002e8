"""How does an arm train that fits on no single device? Several processes hold its upper layers, each some rows.

From the lowest layer that any step trains upwards, every decoder layer is sharded by torch's `fully_shard`: its weights
are put together when the layer runs, forward and backward, and go again. What else trains (embeddings, head, last norm)
is put together for a step. Layers below, and their stored rows, are outside: each process has its own, and needs
nobody for them. The optimizer knows the rows of its own process alone, as ordinary parameters.

Every process calls what is here at the same time, with the same arguments. The parts of a step are shared out, process
r of W computing the parts r, r + W, ..., and their gradients added up in the order of the parts (`ordered_scatter`).
Its norm is taken tensor by tensor, each put together in one process: bits are those of one process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from frostline.corpus import Batch
from frostline.engine.allocator import give_back_freed_memory
from frostline.engine.arm import Arm
from frostline.engine.fast import FastForward
from frostline.engine.filed_weights import cast_up
from frostline.engine.frozen_weights import trained_parameters
from frostline.engine.ordered_scatter import OrderedScatter, Round, give_ordered_scatter
from frostline.engine.partly_trained import NeededGradients
from frostline.engine.randomness import drops_layers
from frostline.engine.shards import HeldOutside, gathered, let_go_of_whole, norms_of
from frostline.errors import ModelError
from frostline.plans import AppliedPlan, FrozenCheck, Portion, Shard, decoder_stack


def shard_arm(arm: Arm, group: dist.ProcessGroup) -> ShardedWeights:
    """Let the processes of `group` hold the weights of `arm` together, which each of them has just made.

    What trains may still be memory of the untouched model (`copy_for_shards`): it is held in fp32 from here on, in
    rows, and one layer at a time is whole. Raises `ModelError` where the model cannot be held so.
    """
    optimizer = arm.optimizer
    assert not optimizer.state, "it has no moments before its first step"
    require_shardable_model(arm.model)
    if isinstance(arm.forward, FastForward):
        lowest, (_, layers) = lowest_sharded(arm.applied), decoder_stack(arm.model)
        arm.forward.store_below(lowest)
        arm.forward.fitted.held.forget_bases()
        arm.forward.shared.frozen.forget(own for layer in layers[lowest:] for own in layer.parameters())
    sharded = ShardedWeights(arm.applied, group, arm.device)
    optimizer.param_groups[0]["params"] = [parameter for _, parameter in arm.applied.trainable_parameters()]
    arm.shards = sharded
    return sharded


def lowest_sharded(applied: AppliedPlan) -> int:
    """The lowest decoder layer that any step trains, counted from 0: those from here on are sharded."""
    return min(phase.prefix_layers for phase in applied.resolved.phases)


def require_shardable_model(model: PreTrainedModel) -> None:
    """Raise `ModelError` where several processes cannot hold `model` together."""
    if drops_layers(model):
        raise ModelError(
            "the model leaves out whole layers at random, which one process would do and another not.",
            "Set training.dropout=0, or training.sharding=none.",
        ).at("training", "sharding")
    _, layers = decoder_stack(model)
    owner: dict[int, int] = {}
    for index, layer in enumerate(layers):
        for parameter in layer.parameters():
            if owner.setdefault(id(parameter), index) != index:
                raise ModelError(
                    f"decoder layers {owner[id(parameter)]} and {index} share a weight.", "Set training.sharding=none."
                ).at("training", "sharding")


class ShardedWeights:
    """The weights of one arm that several processes hold together, as one of them sees it."""

    def __init__(self, applied: AppliedPlan, group: dist.ProcessGroup, device: torch.device) -> None:
        self.applied, self.group, self.device = applied, group, device
        self.rank, self.size = group.rank(), group.size()
        self.lowest = lowest_sharded(applied)
        """Decoder layers that are outside; those from here on are sharded."""
        self._now = Round()
        _, layers = decoder_stack(applied.model)
        self._layers = list(layers)
        for module in applied.model.modules():
            if isinstance(forward := vars(module).get("forward"), NeededGradients):
                forward.keeps = False
                forward.forget()
        places = _places(applied.model)
        ever = [parameter for _, parameter in applied.trained_until(applied.resolved.phases[-1].at)]
        in_fp32 = applied.holders_of(trained_parameters(applied.resolved))
        inside = {id(parameter) for layer in self._layers[self.lowest :] for parameter in layer.parameters()}
        outside = [own for own in ever if id(own) not in inside]
        in_rows = inside | {id(own) for own in outside}
        cast_up(own for own in in_fp32 if id(own) not in in_rows)  # what is frozen of a matrix that is split
        self._outside = [HeldOutside(own, places[own], group) for own in outside]
        shards = {own: held.shard for own, held in zip(outside, self._outside, strict=True)}
        self._sharded: list[FSDPModule] = []
        self._scatters: list[OrderedScatter] = []
        shards |= self._shard_layers([own for own in ever if id(own) in inside], in_fp32)
        applied.hold_in_shards(shards)
        self._shards = list(shards.values())

    def compute_parts(self, compute: Callable[[Batch, int], Tensor], parts: Sequence[Batch]) -> Tensor:
        """See `engine.arm.Shards`."""
        losses = []
        self._forget_sums()
        for shard in self._shards:
            shard.rows.grad = None
        with self.whole_outside() as outside:
            for first in range(0, len(parts), self.size):
                self._now.computed = min(self.size, len(parts) - first)
                # Who has no part of its own takes part in another's, for the layers run with all or not at all.
                index = first + (self.rank if self.rank < self._now.computed else 0)
                for shard in self._shards:
                    if shard.in_module is not shard.rows:
                        shard.in_module.grad = None  # the scatter has it, and gives the sum with the next
                losses.append(compute(parts[index], index))
                for held, whole in zip(self._outside, outside, strict=True):
                    held.add_gradients(whole, self._now.computed)
        for shard in self._shards:
            if shard.in_module is not shard.rows and shard.in_module.grad is not None:
                shard.rows.grad = _local(shard.in_module.grad)
                shard.in_module.grad = None
        self._forget_sums()
        return self._sum_of(torch.stack(losses), len(parts))

    def clip(self, parameters: Sequence[nn.Parameter], limit: float | None) -> Tensor:
        """See `engine.arm.Shards`."""
        by_rows = {id(shard.rows): shard for shard in self._shards}
        shards = [by_rows[id(own)] for own in parameters if own.grad is not None]
        norms = norms_of(shards, self.group)
        norm = torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros((), device=self.device)
        if limit is not None and math.isfinite(limit):
            torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
        return norm

    @contextmanager
    def whole_outside(self) -> Iterator[list[nn.Parameter]]:
        """In the block what trains outside the layers is whole, so that the model can be run."""
        with ExitStack() as stack:
            yield [stack.enter_context(held.whole()) for held in self._outside]

    @contextmanager
    def whole_layer(self, layer: int | None) -> Iterator[None]:
        """In the block the model has all weights of one decoder layer, counted from 0; None: those outside of them.

        Whatever reads weights by their names can then read them.
        """
        if layer is None:
            with self.whole_outside():
                yield
        elif layer < self.lowest:
            yield
        else:
            own = self._sharded[layer - self.lowest]
            own.unshard()
            try:
                yield
            finally:
                own.reshard()

    @contextmanager
    def all_whole(self) -> Iterator[None]:
        """In the block this process has the whole model, for passes that are many and short, as when text is written.

        For models that fit on a device without what training adds to them.
        """
        with self.whole_outside():
            for layer in self._sharded:
                layer.unshard()
                layer.set_reshard_after_forward(False, recurse=False)
            try:
                yield
            finally:
                for layer in self._sharded:
                    layer.set_reshard_after_forward(True, recurse=False)
                    layer.reshard()

    def give_whole(self) -> None:
        """Take part where another process is in `all_whole` and this one is not to be: with one layer at a time."""
        with self.whole_outside():
            pass
        for layer in self._sharded:
            layer.unshard()
            layer.reshard()

    def weights(self, parameters: Sequence[tuple[str, nn.Parameter]]) -> Iterator[tuple[str, Tensor]]:
        """Each of the `parameters` that `AppliedPlan` names, whole: one is held at a time."""
        for name, parameter in parameters:
            shard = next((own for own in self._shards if own.rows is parameter), None)
            yield name, parameter.detach() if shard is None else gathered(shard, self.group)

    def value_of(self, portion: Portion) -> Tensor:
        """See `AppliedPlan.value_of`: the present values, in memory that stays."""
        with self.whole_layer(portion.layer):
            return self.applied.value_of(portion).clone()

    def verify(self) -> FrozenCheck:
        """See `AppliedPlan.verify`: each process compares its rows; what moved in any of them is named in all."""
        own = self.applied.verify()
        names = [portion.name for portion in self.applied.resolved.portions]
        moved = torch.tensor([name in own.moved for name in names], dtype=torch.uint8, device=self.device)
        anywhere = torch.stack(self._of_all(moved)).amax(dim=0).tolist()
        return FrozenCheck(
            own.checked_values, tuple(name for name, found in zip(names, anywhere, strict=True) if found)
        )

    def _shard_layers(self, ever: Sequence[nn.Parameter], in_fp32: Sequence[nn.Parameter]) -> dict[nn.Parameter, Shard]:
        """Shard the layers from `lowest` on, of which `ever` train in some step; what became of each parameter.

        `in_fp32` are to be held in fp32. Each layer is made, divided and let go of before the next one is made.
        """
        layers = self._layers[self.lowest :]
        if not layers:
            return {}
        mesh = DeviceMesh.from_group(self.group, self.device.type)
        wide = {id(own) for own in in_fp32}
        for own in ever:
            own.requires_grad_(True)  # of a group that has nothing to train at first torch would not learn the type
        shards = {}
        for layer in layers:
            cast_up(own for own in layer.parameters() if id(own) in wide)
            for own in layer.parameters():
                if not own.is_contiguous():
                    own.data = own.data.contiguous()
            before = [
                (module, name, own, tuple(own.shape))
                for module in layer.modules()
                for name, own in module._parameters.items()
                if own is not None
            ]
            sharded = fully_shard(layer, mesh=mesh, reshard_after_forward=True)
            self._sharded.append(sharded)
            self._scatters.append(give_ordered_scatter(sharded, self._now))
            for module, name, own, shape in before:
                now = module._parameters[name]
                assert now is not None
                rows = nn.Parameter(_local(now).detach(), requires_grad=own.requires_grad)
                shards[own] = Shard(rows, now, shape)
                let_go_of_whole(own)
            give_back_freed_memory()  # rows come to lie between what is freed, which would be kept in pieces
        types = {shards[own].rows.dtype for own in ever}
        assert types <= {torch.float32}, "what any step trains is held in fp32 from the start"
        for lower, upper in zip(self._sharded, self._sharded[1:], strict=False):
            lower.set_modules_to_forward_prefetch([upper])
        # Torch lets what is run first set up what all share, such as streams and buffers; the model itself never runs
        # to its end, and so cannot be that.
        self._together = _Together(layers)
        fully_shard(self._together, mesh=mesh)
        with torch.no_grad():
            self._together()
        for own_layer in self._sharded:  # memory that is first made in inference mode could not be trained with
            own_layer.unshard()
            own_layer.reshard()
            give_back_freed_memory()
        return shards

    def _sum_of(self, losses: Tensor, parts: int) -> Tensor:
        """The losses of all parts, added up in their order; process r has the r-th of every round."""
        found = self._of_all(losses)
        total = torch.zeros((), device=self.device)
        for index in range(parts):
            total += found[index % self.size][index // self.size]
        return total

    def _of_all(self, own: Tensor) -> list[Tensor]:
        found = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(found, own.contiguous(), group=self.group)
        return found

    def _forget_sums(self) -> None:
        for scatter in self._scatters:
            scatter.forget()


class _Together(nn.Module):
    """Layers that share what they exchange their weights with; run, it does nothing."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self) -> None:
        """Nothing."""


def _places(model: nn.Module) -> dict[nn.Parameter, list[tuple[nn.Module, str]]]:
    """Every module that has a parameter, and its name there."""
    found: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, own in module._parameters.items():
            if own is not None:
                found.setdefault(own, []).append((module, name))
    return found


def _local(tensor: Tensor) -> Tensor:
    assert isinstance(tensor, DTensor)
    with torch.no_grad():
        return tensor.to_local()
