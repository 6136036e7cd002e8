"""Which outputs of a matrix are query, key or value, which gate or up? Asked of the model by gradients, not by name.

What attention is decides it. Of two positions, the output at the second depends on the projections at the first
through key and value alone, so what has no gradient there is query. With the query held at zero all scores are equal
whatever the key: what has no gradient then is key, the rest value. With the key held at zero the query has no
gradient either; what still has one is something else (an output gate) and stays unnamed. Whatever works after positions
were mixed is the output projection.

A gated MLP computes down(activation(gate) * up): it is affine in `up` and not in `gate`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from frostline.plans.calls import TOKENS, Rerun

FeatureRoles = list[str]
"""The role of each output feature of a matrix."""
PROBE_ERRORS = (RuntimeError, TypeError, ValueError, KeyError, IndexError, AttributeError, NotImplementedError)
"""What a module may raise when it is called alone: then its names decide."""


class InconclusiveProbeError(Exception):
    """The module does not behave like attention or a gated MLP."""


def linear_modules(module: nn.Module) -> dict[str, nn.Module]:
    """Linear-like modules at or below `module`, by relative name."""
    return {name: child for name, child in module.named_modules() if isinstance(child, nn.Linear | Conv1D)}


def feature_dimension(module: nn.Module) -> int:
    """The dimension of a linear-like module's weight along which its output features lie."""
    return 1 if isinstance(module, Conv1D) else 0


def mixes_positions(rerun: Rerun) -> bool:
    """Whether the module's output at the second position depends on its input at the first."""
    output = rerun()
    if output.ndim < 3 or not output.requires_grad:
        return False
    looked_at = [hidden for hidden in rerun.hidden if hidden.ndim == 3]
    gradients = torch.autograd.grad(_last_position(output, rerun), looked_at, allow_unused=True)
    return any(gradient is not None and bool(gradient[:, 0].any()) for gradient in gradients)


def probe_attention(rerun: Rerun) -> dict[str, FeatureRoles]:
    """The role of every output feature of every linear-like module in an attention module, by relative name.

    `attn.q`, `attn.k`, `attn.v`, `attn.o`; plain `attn` for what is none of them or several at once.
    Raises `InconclusiveProbeError` where no query, key and value are found.
    """
    linears = linear_modules(rerun.module)
    outputs, result = _run_with_masks(rerun, linears, {})
    after = {name for name in outputs if _depends_on_first_position(outputs[name], rerun)}
    before = [name for name in outputs if name not in after]
    gradients = _feature_gradients(result, outputs, before, rerun)
    at_first = {name: gradients[name][0] for name in before}
    query = {name: gradients[name][-1] & ~at_first[name] for name in before}

    outputs, result = _run_with_masks(rerun, linears, {name: ~query[name] for name in before})
    without_query = _feature_gradients(result, outputs, before, rerun)
    value = {name: at_first[name] & without_query[name].any(0) for name in before}
    key = {name: at_first[name] & ~value[name] for name in before}

    outputs, result = _run_with_masks(rerun, linears, {name: ~key[name] for name in before})
    without_key = _feature_gradients(result, outputs, before, rerun)
    query = {name: query[name] & ~without_key[name].any(0) for name in before}

    found = {"attn.q": query, "attn.k": key, "attn.v": value}
    if not all(any(bool(mask.any()) for mask in masks.values()) for masks in found.values()):
        raise InconclusiveProbeError
    roles = {name: ["attn.o"] * _features(linears[name]) for name in after}
    for name in before:
        roles[name] = ["attn"] * _features(linears[name])
        for role, masks in found.items():
            for place in masks[name].nonzero().flatten().tolist():
                roles[name][place] = role
    _unname_shared_features(rerun, linears, before, roles)
    return roles


def probe_mlp(rerun: Rerun) -> dict[str, FeatureRoles]:
    """The role of every output feature of the linear-like modules that `rerun.module` owns directly.

    What is missing from the result (a router) is no part of it. Raises `InconclusiveProbeError` where there is no MLP.
    """
    linears = {name: module for name, module in linear_modules(rerun.module).items() if name and "." not in name}
    inputs, outputs = _run_and_watch(rerun, linears, {})
    parents = {name: _inputs_reached_by(inputs[name], outputs, name) for name in inputs}
    downs = [name for name in parents if parents[name] and not any(name in other for other in parents.values())]
    if len(downs) != 1 or not 1 <= len(parents[downs[0]]) <= 2:
        raise InconclusiveProbeError
    (down,) = downs
    width = inputs[down].shape[-1]
    first, *second = parents[down]
    roles = {down: ["mlp.down"] * _features(linears[down])}

    def affine(name: str, places: slice) -> bool:
        weight = rerun.weights[f"{name}.weight"]
        dimension = feature_dimension(linears[name])

        def at(factor: float) -> Tensor:
            scaled = _scaled(weight, dimension, places, factor)
            return _run_and_watch(rerun, linears, {f"{name}.weight": scaled})[0][down]

        return _is_affine(at)

    if second:
        straight = [name for name in parents[down] if affine(name, slice(None))]
        if len(straight) != 1:
            raise InconclusiveProbeError
        for name in parents[down]:
            roles[name] = ["mlp.up" if name in straight else "mlp.gate"] * _features(linears[name])
    elif _features(linears[first]) == 2 * width:
        roles[first] = _halves(2 * width, partial(affine, first))
    else:
        roles[first] = ["mlp.up"] * _features(linears[first])
    return roles


def probe_experts(rerun: Rerun) -> dict[str, tuple[int, FeatureRoles]]:
    """The roles of the expert matrices, kept as three-dimensional parameters [experts, ..., ...], that a module owns.

    For each parameter: the dimension that is divided, and the role of each place along it. Raises
    `InconclusiveProbeError` where scaling them does not tell.
    """
    stacked = [name for name, value in rerun.weights.items() if value.ndim == 3 and "." not in name]

    def affine(name: str, dimension: int, places: slice) -> bool:
        return _is_affine(lambda factor: rerun({name: _scaled(rerun.weights[name], dimension, places, factor)}))

    straight = [name for name in stacked if affine(name, 0, slice(None))]
    bent = [name for name in stacked if name not in straight]
    if len(straight) == 1 and len(bent) == 1:
        down, first = straight[0], bent[0]
        roles = {down: (1, ["mlp.down"] * rerun.weights[down].shape[1])}
        if rerun.weights[first].numel() == rerun.weights[down].numel():
            return {**roles, first: (1, ["mlp.up"] * rerun.weights[first].shape[1])}
        for dimension in (1, 2):
            try:
                size = rerun.weights[first].shape[dimension]
                return {**roles, first: (dimension, _halves(size, partial(affine, first, dimension)))}
            except InconclusiveProbeError:
                continue
    if len(straight) == 2 and len(bent) == 1:
        shapes = {name: rerun.weights[name].shape for name in stacked}
        ups = [name for name in straight if shapes[name] == shapes[bent[0]]]
        if len(ups) == 1:
            named = {name: "mlp.up" if name in ups else "mlp.down" for name in straight} | {bent[0]: "mlp.gate"}
            return {name: (1, [role] * shapes[name][1]) for name, role in named.items()}
    raise InconclusiveProbeError


def _run_with_masks(
    rerun: Rerun, linears: Mapping[str, nn.Module], kept: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], Tensor]:
    """Outputs of `linears` in a run in which features that are not `kept` are zero, and the module's own output."""
    outputs: dict[str, Tensor] = {}
    handles = []
    for name, module in linears.items():

        def mask(_: nn.Module, __: object, output: Tensor, name: str = name) -> Tensor:
            outputs[name] = output * kept[name] if name in kept else output * 1
            return outputs[name]

        handles.append(module.register_forward_hook(mask))
    try:
        result = rerun()
    finally:
        for handle in handles:
            handle.remove()
    if result.ndim < 3 or any(output.numel() != TOKENS * output.shape[-1] for output in outputs.values()):
        raise InconclusiveProbeError
    return outputs, result


def _run_and_watch(
    rerun: Rerun, linears: Mapping[str, nn.Module], changed: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Inputs and outputs of `linears`, in the order of their calls."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    handles = []
    for name, module in linears.items():

        def keep(_: nn.Module, args: tuple[Tensor, ...], output: Tensor, name: str = name) -> Tensor:
            inputs[name], outputs[name] = args[0], output * 1
            return outputs[name]

        handles.append(module.register_forward_hook(keep))
    try:
        rerun(changed)
    finally:
        for handle in handles:
            handle.remove()
    return inputs, outputs


def _last_position(output: Tensor, rerun: Rerun) -> Tensor:
    """A random projection of `output` at the last position: depends on every feature."""
    last = output.reshape(TOKENS, -1)[-1]
    return (last * rerun.random(tuple(last.shape))).sum()


def _depends_on_first_position(output: Tensor, rerun: Rerun) -> bool:
    gradients = torch.autograd.grad(_last_position(output, rerun), rerun.hidden, retain_graph=True, allow_unused=True)
    return any(gradient is not None and bool(gradient.reshape(TOKENS, -1)[0].any()) for gradient in gradients)


def _feature_gradients(
    result: Tensor, outputs: Mapping[str, Tensor], names: Sequence[str], rerun: Rerun
) -> dict[str, Tensor]:
    """Whether the result at the last position depends on each output feature: bool [positions, features]."""
    gradients = torch.autograd.grad(
        _last_position(result, rerun), [outputs[name] for name in names], retain_graph=True, allow_unused=True
    )
    return {
        name: (torch.zeros_like(outputs[name]) if gradient is None else gradient).reshape(TOKENS, -1) != 0
        for name, gradient in zip(names, gradients, strict=True)
    }


def _unname_shared_features(
    rerun: Rerun, linears: Mapping[str, nn.Module], before: Sequence[str], roles: dict[str, FeatureRoles]
) -> None:
    """A projection that others read (a latent of key and value) keeps a role only if it serves that one alone."""
    outputs, _ = _run_with_masks(rerun, linears, {})
    for name in before:
        served: list[set[str]] = [set() for _ in roles[name]]
        for other in before:
            if other == name:
                continue
            for role in sorted(set(roles[other])):
                mask = torch.tensor([found == role for found in roles[other]], device=outputs[other].device)
                (gradient,) = torch.autograd.grad(
                    (outputs[other] * mask).square().sum(), [outputs[name]], retain_graph=True, allow_unused=True
                )
                if gradient is not None:
                    for place in gradient.reshape(TOKENS, -1).any(0).nonzero().flatten().tolist():
                        served[place].add(role)
        for place, found in enumerate(served):
            if len(found) > 1:
                roles[name][place] = "attn"


def _inputs_reached_by(value: Tensor, outputs: Mapping[str, Tensor], own: str) -> list[str]:
    """Names of the modules whose outputs `value` was computed from."""
    others = [name for name in outputs if name != own]
    if not value.requires_grad or not others:
        return []
    gradients = torch.autograd.grad(
        value.square().sum(), [outputs[name] for name in others], retain_graph=True, allow_unused=True
    )
    return [name for name, gradient in zip(others, gradients, strict=True) if gradient is not None]


def _scaled(weight: Tensor, dimension: int, places: slice, factor: float) -> Tensor:
    changed = weight.clone()
    changed[(slice(None),) * dimension + (places,)] *= factor
    return changed


def _is_affine(at: Callable[[float], Tensor]) -> bool:
    """Whether f(-2) = 3 f(0) - 2 f(1), as for every affine f, to single precision."""
    with torch.no_grad():
        low, zero, one = at(-2.0), at(0.0), at(1.0)
        change = (one - zero).abs().max()
        return bool(change > 0) and bool((low - 3 * zero + 2 * one).abs().max() <= 1e-4 * change)


def _halves(size: int, affine: Callable[[slice], bool]) -> FeatureRoles:
    """Roles of a fused gate and up matrix, whose halves are either blocks or interleaved."""
    middle = size // 2
    for first, second in ((slice(0, middle), slice(middle, None)), (slice(0, None, 2), slice(1, None, 2))):
        straight = (affine(first), affine(second))
        if straight[0] != straight[1]:
            roles = ["mlp.gate"] * size
            up = first if straight[0] else second
            roles[up] = ["mlp.up"] * len(range(size)[up])
            return roles
    raise InconclusiveProbeError


def _features(module: nn.Module) -> int:
    weight = module.get_parameter("weight")
    return int(weight.shape[feature_dimension(module)])
