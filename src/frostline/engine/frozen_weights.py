"""How many copies of a frozen weight are there, and in which precision? One, and that in which it is used.

Every arm starts from the same weights. What an arm never trains it shares with the base model and with the other arms;
what it trains at any time is its own, in fp32. With bf16 arithmetic autocast converts the matrix of a linear layer
anew in each forward pass; a frozen one is converted once instead, which gives the same bits. Norms and embeddings,
which autocast leaves in fp32, stay in fp32. What its file has in bf16 is there already (`filed_weights`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from frostline.engine.filed_weights import FILED_TYPES, cast_up
from frostline.plans import AppliedPlan, ResolvedPlan, adapted_modules, decoder_stack
from frostline.storage import let_go_of


class FrozenWeights:
    """The weights of a base model in the precision of its frozen matrices, made once and shared by all arms."""

    def __init__(self, precision: str, *, prefix_leaves: bool = False) -> None:
        """With `prefix_leaves` rows are made before training: layers that nothing runs then are not converted."""
        self.precision, self.prefix_leaves = precision, prefix_leaves
        self._converted: dict[int, tuple[Tensor, Tensor]] = {}
        """Each fp32 matrix (kept, so that its address stays taken) and its bf16 copy, by that address."""

    def hold(self, applied: AppliedPlan) -> HeldWeights:
        """Let the frozen matrices of an arm's linear layers be held in the precision in which they are used."""
        held = HeldWeights(applied)
        if self.precision != "bf16":
            return held
        ever_trained = trained_parameters(applied.resolved)
        leaving, embedding = self._leaving(applied), _embedding(applied.model)
        for path, module in applied.model.named_modules():
            # An adapted matrix stands one level below its adapter.
            name = f"{path.removesuffix('.base_layer')}.weight"
            if not is_plain_linear(module) or name in ever_trained or module in leaving:
                continue
            weight = module.get_parameter("weight")
            if weight.requires_grad or weight.dtype == torch.bfloat16 or weight is embedding:
                continue
            held.replace(name, weight, self.converted(weight.data), weight.data)
        held.done()
        return held

    def _leaving(self, applied: AppliedPlan) -> set[nn.Module]:
        if not self.prefix_leaves:
            return set()
        _, layers = decoder_stack(applied.model)
        depth = min(phase.prefix_layers for phase in applied.resolved.phases)
        return {module for layer in layers[:depth] for module in layer.modules()}

    def converted(self, base: Tensor) -> Tensor:
        """The one bf16 copy of the frozen fp32 matrix `base`."""
        known = self._converted.get(base.data_ptr())
        if known is None:
            known = self._converted[base.data_ptr()] = (base, base.to(torch.bfloat16))
        return known[1]

    def forget(self, copies: Iterable[Tensor]) -> None:
        """Give up these bf16 copies: for an arm that holds rows of its own of them. Another arm has them made anew."""
        gone = {own.data_ptr() for own in copies}
        self._converted = {key: pair for key, pair in self._converted.items() if pair[1].data_ptr() not in gone}

    def forget_bases(self) -> None:
        """Give up the matrices that were converted: for an arm alone in its process, without a base beside it."""
        let_go_of(base for base, _ in self._converted.values())
        self._converted.clear()


class HeldWeights:
    """Which parameters of one arm were exchanged for converted ones."""

    def __init__(self, applied: AppliedPlan) -> None:
        self._applied = applied
        self._bases: dict[str, tuple[nn.Parameter, Tensor]] = {}

    def replace(self, name: str, parameter: nn.Parameter, converted: Tensor, base: Tensor) -> None:
        """Let `parameter` hold `converted`; `base` is what `restore` gives back."""
        parameter.data = converted
        self._bases[name] = (parameter, base)

    def done(self) -> None:
        """What the plan's check of frozen bytes compares from now on is what the parameters hold now."""
        portions = self._applied.resolved.portions
        self._applied.frozen_replaced(portion.name for portion in portions if portion.parameter in self._bases)

    def restore(self) -> None:
        """Give every exchanged parameter its base weight back, for what the user takes away."""
        for parameter, base in self._bases.values():
            parameter.data = base
        self.done()
        self._bases.clear()

    def forget_bases(self) -> None:
        """Give up the fp32 matrices; `restore` then does nothing."""
        self._bases.clear()


def copy_for_arm(base: PreTrainedModel, resolved: ResolvedPlan) -> PreTrainedModel:
    """A copy of `base` that shares the memory of every weight that the plan never trains; what trains is in fp32."""
    trained = trained_parameters(resolved)
    known: dict[int, nn.Parameter] = {}
    for name, parameter in base.named_parameters():
        if name not in trained:
            known[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False)
        elif parameter.dtype in FILED_TYPES:
            known[id(parameter)] = nn.Parameter(parameter.detach().float(), requires_grad=parameter.requires_grad)
    return copy.deepcopy(base, dict(known))


def copy_for_shards(base: PreTrainedModel) -> PreTrainedModel:
    """A copy of `base` that shares the memory of every weight, until `shard_arm` makes what trains, layer by layer.

    It computes the same bits as the copy that `copy_for_arm` gives. Nothing may be written into it before.
    """
    known = {id(own): nn.Parameter(own.detach(), requires_grad=False) for own in base.parameters()}
    return copy.deepcopy(base, dict(known))


def cast_up_trained(model: PreTrainedModel, resolved: ResolvedPlan) -> None:
    """Hold in fp32, in place, what the plan trains at any time."""
    trained = trained_parameters(resolved)
    cast_up(parameter for name, parameter in model.named_parameters() if name in trained)


def own_adapted_weights(model: PreTrainedModel) -> None:
    """Copy the frozen weights, shared with the base model and other arms, into which adapters are to be merged."""
    for name in adapted_modules(model):
        weight = model.get_parameter(f"{name}.base_layer.weight")
        weight.data = weight.data.to(torch.float32, copy=True)


def trained_parameters(resolved: ResolvedPlan) -> frozenset[str]:
    """Names of the parameters of the untouched model of which anything trains at any step."""
    names = frozenset().union(*(phase.trained for phase in resolved.phases))
    return frozenset(portion.parameter for portion in resolved.portions if portion.name in names)


def is_plain_linear(module: nn.Module) -> bool:
    """Whether `module` is a linear layer with one ordinary matrix."""
    return type(module) in (nn.Linear, Conv1D) and not parametrize.is_parametrized(module)


def _embedding(model: PreTrainedModel) -> Tensor | None:
    """The matrix of the input embeddings, with which a head tied to it stays in fp32; None where some rows train."""
    found = model.get_input_embeddings()
    return found.weight if isinstance(found, nn.Embedding) and not parametrize.is_parametrized(found) else None
