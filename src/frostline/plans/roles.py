"""Which role does every weight of a model play? Found from the structure of the model; no table of model names.

The decoder stack is the list of as many equal modules as the configuration counts layers. In a layer, the submodule
that mixes positions is attention, what normalises is a norm, the rest is the MLP; `probe` tells their matrices apart.
Outside the layers, the matrix that computes the logits is the head, what normalises a norm, and all else embeds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import nn
from transformers import PreTrainedModel

from frostline.errors import ModelError
from frostline.out_of_memory import is_out_of_memory
from frostline.plans.calls import Call, Rerun, record_calls, undisturbed
from frostline.plans.few_layers import few_layers
from frostline.plans.probe import (
    PROBE_ERRORS,
    FeatureRoles,
    InconclusiveProbeError,
    feature_dimension,
    linear_modules,
    mixes_positions,
    probe_attention,
    probe_experts,
    probe_mlp,
)
from frostline.plans.stack import HINT, decoder_stack
from frostline.plans.types import ModelMap, Portion, Side, as_ranges
from frostline.recipe import LEAF_ROLES

Division = tuple[int, FeatureRoles]
"""A dimension of a parameter, and the role of each place along it."""

_WORDS: tuple[tuple[str, frozenset[str]], ...] = (
    ("attn.q", frozenset({"q", "query", "wq"})),
    ("attn.k", frozenset({"k", "key", "wk"})),
    ("attn.v", frozenset({"v", "value", "wv"})),
    ("attn.o", frozenset({"o", "out", "output", "dense", "wo"})),
    ("mlp.gate", frozenset({"gate"})),
    ("mlp.up", frozenset({"up", "fc1"})),
    ("mlp.down", frozenset({"down", "fc2"})),
)
"""Words in the names of matrices, common to many families; asked only where the probe is inconclusive."""


def map_model(model: PreTrainedModel) -> ModelMap:
    """Every element of every parameter of `model` with its role, layer and place; the model is left untouched.

    A model without memory (on torch's meta device) computes nothing that could be asked: names alone decide. Raises
    `ModelError` where there is no decoder stack or where attention cannot be found in it.
    """
    stack_name, stack = decoder_stack(model)
    parameters = dict(model.named_parameters())
    with undisturbed(model):
        outside = [module for name, module in model.named_modules() if not f"{name}.".startswith(f"{stack_name}.")]
        calls = {}
        if not any(value.is_meta for value in parameters.values()):
            calls = _record(model, [*outside, *(module for block in stack for module in block.modules())])
        divisions = _probe_stack(model, stack_name, stack, calls)
    modules = dict(model.named_modules())
    sides = _sides(stack, outside, calls)
    names = _names_by_parameter(model)
    head: nn.Module | None = model.get_output_embeddings()
    embedding: nn.Module = model.get_input_embeddings()
    portions: list[Portion] = []
    for name, parameter in parameters.items():
        owner, _, own = name.rpartition(".")
        layer = _layer_of(name, stack_name)
        side: Side = "layers" if layer is not None else sides.get(modules[owner], "below")
        division: Division | str
        if is_norm(modules[owner]):
            division = "norm"
        elif own == "bias" or own.endswith("_bias"):
            division = "bias"
        elif layer is not None:
            division = divisions[name]
        elif head is not None and parameter is head.weight and parameter is not embedding.weight:
            division = "head"
        else:
            division, side = "embed", "below"
        aliases = tuple(alias for alias in names[id(parameter)] if alias != name)
        portions += _portions(name, layer, division, tuple(parameter.shape), side, aliases)
    tied = tuple(tuple(group) for group in names.values() if len(group) > 1)
    head_names = [name for name, module in modules.items() if module is head]
    head_name = f"{head_names[0]}.weight" if head_names else None
    embedding_name = next(iter(names.get(id(embedding.weight), ())), None)
    return ModelMap(len(stack), tuple(portions), tied, head_name, layout_of(model), embedding_name)


def layout_of(model: PreTrainedModel) -> str:
    """Class and heads of a model: they and the shapes of its parameters decide where in these each role lies."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", "unknown")
    return f"{type(model).__name__} with {heads} heads, {getattr(config, 'num_key_value_heads', heads)} of them of keys"


def is_norm(module: nn.Module) -> bool:
    """Whether all parameters of `module` itself scale or shift what it normalises."""
    own = dict(module.named_parameters(recurse=False))
    if not own or any(True for _ in module.children()) or not set(own) <= {"weight", "bias"}:
        return False
    named_norm = "norm" in type(module).__name__.lower()
    return named_norm or ("weight" in own and own["weight"].ndim == 1)


def _record(model: PreTrainedModel, watched: Sequence[nn.Module]) -> dict[nn.Module, Call]:
    try:
        with few_layers(model):  # others are never asked: those of equal structure are probed once
            return record_calls(model, watched)
    except PROBE_ERRORS as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(
            f"{type(model).__name__} cannot read two tokens: {type(error).__name__}: {error}",
            HINT,
        ) from error


def _probe_stack(
    model: PreTrainedModel, stack_name: str, stack: Sequence[nn.Module], calls: Mapping[nn.Module, Call]
) -> dict[str, Division | str]:
    """The role or division of every weight in the layers, by full name. Layers of equal structure are probed once."""
    hidden_size = model.config.get_text_config().hidden_size
    known: dict[object, dict[str, Division | str]] = {}
    found: dict[str, Division | str] = {}
    for index, block in enumerate(stack):
        kinds = tuple((name, type(module)) for name, module in block.named_modules())
        structure = (kinds, tuple((name, tuple(value.shape)) for name, value in block.named_parameters()))
        if structure not in known:
            known[structure] = _probe_block(block, calls, hidden_size)
        found |= {f"{stack_name}.{index}.{name}": division for name, division in known[structure].items()}
    roles = {role for division in found.values() for role in ([division] if isinstance(division, str) else division[1])}
    if not any(role.startswith("attn") for role in roles):
        raise ModelError(f"no layer of {type(model).__name__} mixes positions as attention does.", HINT)
    return found


def _probe_block(block: nn.Module, calls: Mapping[nn.Module, Call], hidden_size: int) -> dict[str, Division | str]:
    """The role or division of every parameter of one layer, by name within the layer."""
    found: dict[str, Division | str] = {}
    attentions = _attention_modules(block, calls, hidden_size)
    for name in attentions:
        for own, _ in block.get_submodule(name).named_parameters():
            found[f"{name}.{own}"] = "attn"
        found |= _attention_divisions(block.get_submodule(name), name, calls, hidden_size)
    rest: dict[str, Division | str] = {
        name: "mlp" for name, _ in block.named_parameters() if not name.startswith(tuple(f"{n}." for n in attentions))
    }
    if not attentions:
        # Attention may be written out in the layer itself; a layer of a hybrid model may also have none.
        named = {name: _role_by_words(name, "attn") for name in rest}
        if {"attn.q", "attn.k", "attn.v"} <= set(named.values()):
            rest |= {name: role for name, role in named.items() if role is not None}
    for name, module in block.named_modules():
        if not f"{name}.".startswith(tuple(f"{attention}." for attention in attentions)):
            rest |= _mlp_divisions(module, name, calls, hidden_size, rest)
    return found | rest


def _attention_modules(block: nn.Module, calls: Mapping[nn.Module, Call], hidden_size: int) -> list[str]:
    """Names of the layer's children that mix positions; where none can be asked, of those called attention."""
    children = [name for name, child in block.named_children() if linear_modules(child)]
    mixing = []
    for name in children:
        child = block.get_submodule(name)
        if child not in calls:
            continue
        try:
            if mixes_positions(_rerun(child, calls[child], hidden_size)):
                mixing.append(name)
        except PROBE_ERRORS as error:
            if is_out_of_memory(error):
                raise
            continue
    return mixing or [name for name in children if "attn" in name.lower() or "attention" in name.lower()]


def _attention_divisions(
    attention: nn.Module, name: str, calls: Mapping[nn.Module, Call], hidden_size: int
) -> dict[str, Division | str]:
    linears = linear_modules(attention)
    try:
        roles = probe_attention(_rerun(attention, calls[attention], hidden_size))
    except (InconclusiveProbeError, *PROBE_ERRORS) as error:
        if is_out_of_memory(error):
            raise
        # No attention of the usual kind (a state-space layer, say): names may still tell, else it is plainly `attn`.
        by_words = {linear: _role_by_words(linear, "attn") for linear in linears}
        return {f"{name}.{linear}.weight": role for linear, role in by_words.items() if role is not None}
    return {
        f"{name}.{linear}.weight": (feature_dimension(linears[linear]), features) for linear, features in roles.items()
    }


def _mlp_divisions(
    module: nn.Module,
    name: str,
    calls: Mapping[nn.Module, Call],
    hidden_size: int,
    rest: Mapping[str, Division | str],
) -> dict[str, Division | str]:
    """Roles of the matrices that `module` owns directly, if it is an MLP or a set of experts; else nothing."""
    prefix = f"{name}." if name else ""
    linears = {
        own: child
        for own, child in module.named_children()
        if isinstance(child, nn.Linear) or own in linear_modules(module)
    }
    linears = {own: child for own, child in linears.items() if f"{prefix}{own}.weight" in rest}
    stacked = {own: value for own, value in module.named_parameters(recurse=False) if value.ndim == 3}
    try:
        if len(linears) >= 2:
            roles = probe_mlp(_rerun(module, calls[module], hidden_size))
            return {
                f"{prefix}{own}.weight": (feature_dimension(linears[own]), features)
                for own, features in roles.items()
                if own in linears
            }
        if len(stacked) >= 2:
            divisions = probe_experts(_rerun(module, calls[module], hidden_size))
            return {f"{prefix}{own}": division for own, division in divisions.items()}
    except (InconclusiveProbeError, *PROBE_ERRORS) as error:
        if is_out_of_memory(error):
            raise
        weights = [*(f"{own}.weight" for own in linears), *stacked]
        by_words = {weight: _role_by_words(weight, "mlp") for weight in weights}
        return {f"{prefix}{weight}": role for weight, role in by_words.items() if role is not None}
    return {}


def _rerun(module: nn.Module, call: Call, hidden_size: int) -> Rerun:
    return Rerun(module, call, hidden_size, next(module.parameters()).device)


def _role_by_words(name: str, group: str) -> str | None:
    """The one role of `group` that the matrix's own name speaks of, if it speaks of exactly one."""
    matrix = name.removesuffix(".weight").rpartition(".")[2].lower()
    words = set(re.split(r"[_\W]+", matrix))
    roles = [role for role, known in _WORDS if role.startswith(group) and words & known]
    return roles[0] if len(roles) == 1 else None


def _sides(
    stack: Sequence[nn.Module], outside: Sequence[nn.Module], calls: Mapping[nn.Module, Call]
) -> dict[nn.Module, Side]:
    """Whether a module outside the layers works before the first of them or after the last."""
    last = max((calls[block].order for block in stack if block in calls), default=-1)
    return {module: "above" if module in calls and calls[module].order > last else "below" for module in outside}


def _names_by_parameter(model: nn.Module) -> dict[int, list[str]]:
    """All names of each parameter, keyed by its identity, the one of `named_parameters()` first."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return names


def _layer_of(name: str, stack_name: str) -> int | None:
    prefix = f"{stack_name}."
    return int(name[len(prefix) :].split(".")[0]) if name.startswith(prefix) else None


def _portions(
    name: str, layer: int | None, division: Division | str, shape: tuple[int, ...], side: Side, aliases: tuple[str, ...]
) -> list[Portion]:
    """The portions of one parameter, in the order of LEAF_ROLES."""
    if isinstance(division, str):
        return [Portion(name, layer, division, shape, side, aliases=aliases)]
    dimension, features = division
    present = [role for role in LEAF_ROLES if role in features]
    if len(present) == 1:
        return [Portion(name, layer, present[0], shape, side, aliases=aliases)]
    return [
        Portion(
            name,
            layer,
            role,
            shape,
            side,
            dimension,
            as_ranges([place for place, found in enumerate(features) if found == role]),
            aliases,
        )
        for role in present
    ]
