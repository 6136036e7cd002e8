"""What do one step's parts cost on this machine? Measured on a model cut down to a few of its layers.

Layers of one kind (the same roles train in them) cost the same, so that two depths tell what one more layer costs and
what is left without it: embeddings, head, loss. The cut model keeps the real widths, vocabulary, windows and engine.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn
from transformers import PreTrainedModel

from frostline.arms import Prepared, make_arm, plan_arms
from frostline.corpus import Batch
from frostline.engine import Arm, PhaseSeconds, keep_freed_memory, saved_bytes
from frostline.plans import ResolvedPlan, decoder_stack
from frostline.recipe import ArmSettings, LoraSettings

ROUNDS = 5
"""Timed steps at each depth, in turns, after one that warms up."""
MOST_LAYERS_ADDED = 4
LARGEST_SHARE_OF_MEMORY = 0.25
"""Share of the free memory that a cut model in training may take."""
BYTES_PER_TRAINED_WEIGHT = 18
"""Weight, its bf16 copy, gradient and two moments."""

PLACE_IN_STACK = frozenset({"layer_idx", "layer_id"})
"""What the families' modules call their layer's number, under which keys and values are cached."""

Roles = frozenset[str]
"""What trains in a layer, or carries an adapter: layers with equal roles are of one kind."""


@dataclass(frozen=True)
class StepParts:
    """What one pass over a batch costs, without the prefix."""

    pass_seconds: float
    """Seconds of forward and backward."""
    optimizer_seconds: float
    saved_bytes: int
    """What the forward pass keeps for the backward pass, weights aside."""

    def plus(self, other: StepParts, times: float) -> StepParts:
        """This and `times` times `other`."""
        return StepParts(
            self.pass_seconds + times * other.pass_seconds,
            self.optimizer_seconds + times * other.optimizer_seconds,
            round(self.saved_bytes + times * other.saved_bytes),
        )

    def beyond(self, other: StepParts) -> StepParts:
        """What this takes more than `other`, a part of it: on a busy machine that may look like less than nothing."""
        return StepParts(
            max(0.0, self.pass_seconds - other.pass_seconds),
            max(0.0, self.optimizer_seconds - other.optimizer_seconds),
            max(0, self.saved_bytes - other.saved_bytes),
        )


def kinds_of_layers(resolved: ResolvedPlan) -> list[Roles]:
    """For each decoder layer above the prefix, from the bottom: the roles that train in it as the plan begins."""
    portions = resolved.targets if resolved.lora is not None else tuple(resolved.trained.values())
    return [
        frozenset(portion.role for portion in portions if portion.layer == layer)
        for layer in range(resolved.prefix_layers, resolved.layers)
    ]


def calibrate_arm(prepared: Prepared, name: str, batch: Batch, free_bytes: int) -> StepParts:
    """One pass of the arm `name` over `batch`, put together from passes of cut models."""
    keep_freed_memory()
    resolved = prepared.arms[name].resolved
    kinds = kinds_of_layers(resolved)
    lowest = resolved.prefix_layers if kinds else resolved.layers - 1
    places: dict[Roles, list[int]] = {}
    for offset, kind in enumerate(kinds):
        places.setdefault(kind, []).append(resolved.prefix_layers + offset)
    added = _layers_to_add(prepared, free_bytes)
    arms = [_cut_arm(prepared, name, [lowest])]
    for layers in places.values():
        arms.append(_cut_arm(prepared, name, [lowest] + [layers[index % len(layers)] for index in range(added)]))
    alone, *deeper = _measure(arms, batch)
    total = alone
    for (kind, layers), parts in zip(places.items(), deeper, strict=True):
        count = len(layers) - (kind == kinds[0])  # the lowest is in `alone` already
        total = total.plus(parts.beyond(alone), count / added)
    return total


def cut_model(model: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """A copy of `model` with only `layers` of its decoder layers, in that order; one may come more than once."""
    path, stack = decoder_stack(model)
    kept = model.get_submodule(path)
    everything = kept._modules
    try:
        # The layers that go are not copied on the way.
        kept._modules = {}
        cut = copy.deepcopy(model)
    finally:
        kept._modules = everything
    short = nn.ModuleList(copy.deepcopy(stack[layer]) for layer in layers)
    for index, layer in enumerate(short):
        for module in layer.modules():
            for attribute in PLACE_IN_STACK & vars(module).keys():
                vars(module)[attribute] = index
    cut.set_submodule(path, short)
    config = cut.config.get_text_config()
    config.num_hidden_layers = len(layers)
    for key in ("layer_types", "attention_layers", "mlp_layer_types"):
        of_each = getattr(config, key, None)
        if isinstance(getattr(type(config), key, None), property):
            continue  # computed from the number of layers
        if isinstance(of_each, list) and len(of_each) == len(stack):
            setattr(config, key, [of_each[layer] for layer in layers])
    return cut


def cut_prepared(prepared: Prepared, name: str, layers: Sequence[int]) -> Prepared:
    """`prepared` with the arm `name` alone, on a model of `layers`; what trains in a layer still trains there."""
    recipe, resolved = prepared.recipe, prepared.arms[name].resolved
    training = recipe.training.model_copy(update={"accumulation": 1})
    cut = recipe.model_copy(update={"arms": {name: _cut_plan(resolved, layers)}, "training": training})
    model = cut_model(prepared.model, layers)
    return replace(prepared, recipe=cut, model=model, arms=plan_arms(cut, model), planned_by_seed={}, shared=None)


def _cut_plan(resolved: ResolvedPlan, layers: Sequence[int]) -> ArmSettings:
    lora = resolved.lora
    portions = resolved.targets if lora is not None else tuple(resolved.trained.values())
    selectors = [
        f"{role}@{index}"
        for index, layer in enumerate(layers)
        for role in sorted({portion.role for portion in portions if portion.layer == layer})
    ]
    outside = {name for portion in portions if portion.layer is None for name in (portion.parameter, *portion.aliases)}
    selectors += [f"name:{name}" for name in sorted(outside)]
    if lora is not None:
        return ArmSettings(lora=LoraSettings(rank=lora.rank, alpha=lora.alpha, targets=tuple(selectors)))
    return ArmSettings(train=tuple(selectors))


def _layers_to_add(prepared: Prepared, free_bytes: int) -> int:
    _, stack = decoder_stack(prepared.model)
    layer_bytes = BYTES_PER_TRAINED_WEIGHT * sum(parameter.numel() for parameter in stack[0].parameters())
    return max(1, min(MOST_LAYERS_ADDED, int(LARGEST_SHARE_OF_MEMORY * free_bytes / max(1, layer_bytes))))


def _cut_arm(prepared: Prepared, name: str, layers: Sequence[int]) -> Arm:
    cut = cut_prepared(prepared, name, layers)
    return make_arm(cut, cut.arms[name], cut.recipe.seeds[0], model=cut.model)


def _measure(arms: Sequence[Arm], batch: Batch) -> list[StepParts]:
    for arm in arms:
        arm.take_step(batch, 0)
    saved = [saved_bytes(arm, batch) for arm in arms]
    phases: list[list[PhaseSeconds]] = [[] for _ in arms]
    for turn in range(ROUNDS):
        for index in range(len(arms)) if turn % 2 == 0 else reversed(range(len(arms))):
            phases[index].append(arms[index].take_step(batch, 0).phases)
    return [
        StepParts(
            # The least, not the mean: whatever else the machine does adds to a step, and a difference between two
            # depths would multiply it by the number of layers.
            pass_seconds=min(phase.forward + phase.backward for phase in own),
            optimizer_seconds=min(phase.optimizer for phase in own),
            saved_bytes=kept,
        )
        for own, kept in zip(phases, saved, strict=True)
    ]
