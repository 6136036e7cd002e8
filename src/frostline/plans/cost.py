"""How much arithmetic does a plan need, and how much can it save at most?

A matrix with v values, met by t tokens, costs 2 v t floating-point operations in the forward pass, as many for the
gradient of its input and as many for its own gradient. A plan saves the own gradients of what it freezes; and where
nothing trains in the lower part of the model, the backward pass ends there (truncated backward): no input gradients
up to the lowest trained matrix. With the prefix's output stored (cached prefix), its forward pass is saved too.
Counted are matrix products alone: those with weights and, where the length of a window is given, those of attention
(every query with every key, as the kernels are counted). Looking up embeddings is free; norms and activations are left
out. A head that is tied to the embeddings costs its product all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from frostline.plans.order import BOTTOM, FIRST, PlaceInOrder, places_of
from frostline.plans.types import Portion, ResolvedPlan
from frostline.readable import percent

OUTPUT_OF_ADAPTER = 0.5
"""B of an adapter stands half a stage after A, which stands beside the adapted matrix."""

QUERY_KEY_VALUE = frozenset({"attn.q", "attn.k", "attn.v"})


@dataclass(frozen=True)
class PlanCost:
    """Floating-point operations of one step, and what the plan can save against training everything."""

    forward_flops: float
    input_gradient_flops: float
    weight_gradient_flops: float
    step_flops: float
    """The sum of the three."""
    full_step_flops: float
    """Operations of the same step with everything training and without adapters."""
    ceiling: float
    """1 - step_flops / full_step_flops: the largest saving r that the needed operations allow."""
    ceiling_cached: float
    """Largest saving with the prefix's output stored instead of recomputed."""


@dataclass(frozen=True)
class _Product:
    """The product of the activations with one matrix of weights."""

    place: PlaceInOrder
    values: float
    """Values of the matrix that one token meets: all, or the routed share of a mixture of experts."""
    trained: bool


@dataclass(frozen=True)
class _Attention:
    """The two products inside attention: scores (query x key) and mix (probabilities x value)."""

    place: PlaceInOrder
    """Where query, key and value stand."""
    values: float
    """Multiplications of each of the two for one token: length of the window x width of the query."""
    trained: frozenset[str]
    """Roles among `attn.q`, `attn.k`, `attn.v` whose own output must receive a gradient for their sake."""


@dataclass(frozen=True)
class _Operations:
    """Multiplications for one token."""

    forward: float
    input_gradient: float
    weight_gradient: float
    prefix_forward: float


def plan_cost(
    model: PreTrainedModel,
    resolved: ResolvedPlan,
    tokens_per_step: int,
    *,
    sequence_length: int | None = None,
    include_head: bool = True,
    truncated: bool = True,
    step: int = 0,
    places: Mapping[str, PlaceInOrder] | None = None,
) -> PlanCost:
    """The arithmetic of optimizer step `step` under `resolved`, reading `tokens_per_step` tokens.

    `sequence_length` (tokens of a window) adds the products inside attention; `include_head=False` counts the decoder
    layers alone; `truncated=False` counts a backward pass that goes down to the embeddings whatever trains. `places`,
    of the model's parameters, are looked for (`places_of`) if they are not given; that leaves no trace in the model.
    """
    phase = resolved.phase_at(step)
    trained = phase.trained
    if places is None:
        places = places_of(model, resolved)
    starts = [_place_of(portion, places) for portion in _trained_portions(resolved, step)] if truncated else [BOTTOM]
    everything = frozenset(portion.name for portion in resolved.portions)
    plan = _operations(
        [
            *_products(model, resolved, places, trained, include_head),
            *_adapter_products(model, resolved, places, include_head),
        ],
        _attentions(model, resolved, places, trained, sequence_length),
        starts,
        phase.prefix_layers,
    )
    full = _operations(
        list(_products(model, resolved, places, everything, include_head)),
        _attentions(model, resolved, places, everything, sequence_length),
        [BOTTOM],
        prefix_layers=0,
    )
    needed = plan.forward + plan.input_gradient + plan.weight_gradient
    full_needed = full.forward + full.input_gradient + full.weight_gradient
    operations = 2.0 * tokens_per_step
    return PlanCost(
        forward_flops=operations * plan.forward,
        input_gradient_flops=operations * plan.input_gradient,
        weight_gradient_flops=operations * plan.weight_gradient,
        step_flops=operations * needed,
        full_step_flops=operations * full_needed,
        ceiling=1 - needed / full_needed,
        ceiling_cached=1 - (needed - plan.prefix_forward) / full_needed,
    )


def ceiling_sentence(cost: PlanCost, resolved: ResolvedPlan) -> str:
    """What the plan can save at most, in plain words, and why it is little where it is."""
    trained = _trained_portions(resolved, 0)
    if cost.ceiling <= 0:
        if resolved.lora is not None:
            return "can save no arithmetic: the adapters cost more than the gradients that they spare"
        everything = len(trained) == len(resolved.portions)
        return "can save nothing: " + ("everything trains" if everything else "every matrix trains")
    saving = f"at most {percent(cost.ceiling, 0)}" if cost.ceiling >= 0.005 else "less than 1 %"
    if any(portion.side == "below" for portion in trained):
        return f"can save {saving}: the embeddings train, so the backward pass cannot stop early"
    if resolved.prefix_layers == 0:
        return f"can save {saving}: layer 0 trains, so the backward pass cannot stop early"
    return f"can save {saving} of the arithmetic ({percent(cost.ceiling_cached, 0)} with a cached prefix)"


def _operations(
    products: list[_Product], attentions: list[_Attention], starts: list[PlaceInOrder], prefix_layers: int
) -> _Operations:
    """Input gradients are needed by all that comes after any of `starts`, the places of what trains."""
    lowest = min((start.layer for start in starts), default=0)
    relevant = {start for start in starts if start.layer == lowest}

    def reaches(place: PlaceInOrder) -> bool:
        return any(start.comes_before(place) for start in relevant)

    forward = sum(product.values for product in products)
    inputs = sum(product.values for product in products if reaches(product.place))
    weights = sum(product.values for product in products if product.trained)
    prefix = sum(product.values for product in products if product.place.layer < prefix_layers)
    for attention in attentions:
        needed = QUERY_KEY_VALUE if reaches(attention.place) else attention.trained
        # Gradients of query, key and value; and of the probabilities, on the way to query and key.
        gradients = [role in needed for role in ("attn.q", "attn.k", "attn.v")]
        forward += 2 * attention.values
        inputs += attention.values * (sum(gradients) + any(gradients[:2]))
        prefix += 2 * attention.values if attention.place.layer < prefix_layers else 0
    return _Operations(forward, inputs, weights, prefix)


def _products(
    model: PreTrainedModel,
    resolved: ResolvedPlan,
    places: Mapping[str, PlaceInOrder],
    trained: frozenset[str],
    include_head: bool,
) -> Iterator[_Product]:
    config = model.config.get_text_config()
    for portion in resolved.portions:
        if not _is_product(model, portion) or (portion.side == "above" and not include_head):
            continue
        values = portion.values * _routed_share(portion, config)
        yield _Product(_place_of(portion, places), values, portion.name in trained)
    embedding = model.get_input_embeddings()
    head = model.get_output_embeddings()
    if include_head and head is not None and head.weight is embedding.weight:
        for tied in resolved.portions:  # one, or rows that train and others
            if tied.role == "embed" and resolved.map.head_name in (tied.parameter, *tied.aliases):
                yield _Product(PlaceInOrder(resolved.layers, FIRST, ""), float(tied.values), tied.name in trained)


def _place_of(portion: Portion, places: Mapping[str, PlaceInOrder]) -> PlaceInOrder:
    """Rows of the vocabulary stand where all of it does."""
    place = places.get(portion.name)
    return places[portion.parameter] if place is None else place


def _is_product(model: PreTrainedModel, portion: Portion) -> bool:
    """Whether activations are multiplied with the portion; embeddings are looked up instead, their projections not."""
    if portion.role == "embed":
        owner = portion.parameter.rpartition(".")[0]
        return isinstance(model.get_submodule(owner), nn.Linear)
    return len(portion.shape) >= 2 and portion.role not in ("norm", "bias")


def _adapter_products(
    model: PreTrainedModel, resolved: ResolvedPlan, places: Mapping[str, PlaceInOrder], include_head: bool
) -> Iterator[_Product]:
    """A ([rank, in]) and B ([out, rank]) of each adapter: rank x (in + out) values in all."""
    if resolved.lora is None:
        return
    for parameter, target in {portion.parameter: portion for portion in resolved.targets}.items():
        if target.side == "above" and not include_head:
            continue
        module = model.get_submodule(parameter.rpartition(".")[0])
        rows, columns = target.shape
        # nn.Linear keeps [out, in], Conv1D [in, out]; an injected adapter has the plain module below it.
        inner, outer = (rows, columns) if isinstance(getattr(module, "base_layer", module), Conv1D) else (columns, rows)
        place = places[target.name]
        after = place._replace(stage=place.stage + OUTPUT_OF_ADAPTER)
        yield _Product(place, float(resolved.lora.rank * inner), trained=True)
        yield _Product(after, float(resolved.lora.rank * outer), trained=True)


def _attentions(
    model: PreTrainedModel,
    resolved: ResolvedPlan,
    places: Mapping[str, PlaceInOrder],
    trained: frozenset[str],
    sequence_length: int | None,
) -> list[_Attention]:
    if sequence_length is None:
        return []
    hidden = model.config.get_text_config().hidden_size
    own = {target.name for target in resolved.targets} if resolved.lora is not None else trained
    first: dict[int, PlaceInOrder] = {}
    receiving: dict[int, set[str]] = {}
    for portion in resolved.portions:
        if portion.layer is None:
            continue
        if portion.role in QUERY_KEY_VALUE:
            first[portion.layer] = places[portion.name]
        if portion.name in own and places[portion.name] == first.get(portion.layer):
            # The bias of a query, key or value stands there too; whose it is makes little difference.
            roles = {portion.role} if portion.role in QUERY_KEY_VALUE else QUERY_KEY_VALUE
            receiving.setdefault(portion.layer, set()).update(roles)
    return [
        _Attention(
            place=first[portion.layer],
            values=float(sequence_length * portion.values // hidden),
            trained=frozenset(receiving.get(portion.layer, ())),
        )
        for portion in resolved.portions
        if portion.role == "attn.o" and portion.layer in first and len(portion.shape) == 2
    ]


def _trained_portions(resolved: ResolvedPlan, step: int) -> list[Portion]:
    """What receives a gradient for its own sake: the trained portions, or the targets of adapters."""
    return list(resolved.targets) if resolved.lora is not None else list(resolved.trained_at(step).values())


def _routed_share(portion: Portion, config: PreTrainedConfig) -> float:
    """Share of a mixture's experts that one token meets; 1 for everything else."""
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    experts = next((count for name in names if isinstance(count := getattr(config, name, None), int)), None)
    chosen = getattr(config, "num_experts_per_tok", None)
    if experts is None or not isinstance(chosen, int):
        return 1.0
    stacked = len(portion.shape) == 3 and portion.shape[0] == experts
    listed = re.search(r"\bexperts\.\d+\.", portion.parameter) is not None
    return chosen / experts if stacked or listed else 1.0
