"""Where does the loss pull? Gradients of a sample's loss, by portion: how large, against the weights, how steady.

One pass, window by window, in evaluation mode, so that dropout has no part in it. Beside the weights it needs as much
memory again for the sum of the gradients, and the gradients of one window.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from frostline.engine import autocast, held_in_fp32, next_token_loss, to_device
from frostline.plans import ModelMap, Portion
from frostline.signals.sample import Sample, counted
from frostline.signals.signal import Place, Signal, SignalKind

GRADIENT_NORM = SignalKind(
    name="gradient-norm",
    title="Gradient norm",
    meaning="The loss over the sample falls fastest by changing these weights.",
    source="Root mean square of dL/dW over the weights of a matrix; as in AutoFreeze (Liu et al. 2021, "
    "arXiv:2102.01386), per weight.",
    places="matrices",
)
GRADIENT_WEIGHT = SignalKind(
    name="gradient-weight",
    title="Gradient x weight",
    meaning="Removing these weights would change the loss most, to first order.",
    source="Mean of |dL/dw w| over the weights of a matrix (first-order Taylor importance; Molchanov et al. 2019, "
    "arXiv:1906.10771, eq. 8).",
    places="matrices",
)
FISHER = SignalKind(
    name="fisher",
    title="Fisher information",
    meaning="Single windows pull these weights hard, each in its own direction.",
    source="Mean over windows of the squared gradient of a window's mean loss, averaged over the weights of a matrix: "
    "the diagonal of the empirical Fisher information (Kunstner et al. 2019, arXiv:1905.12558, eq. 3), a window as "
    "one observation.",
    places="matrices",
)
KINDS = (GRADIENT_NORM, GRADIENT_WEIGHT, FISHER)


def gradient_signals(
    model: PreTrainedModel, model_map: ModelMap, sample: Sample, *, device: torch.device, precision: str
) -> list[Signal]:
    """`GRADIENT_NORM`, `GRADIENT_WEIGHT` and `FISHER` of every portion of the untouched `model`.

    The model is afterwards what it was: weights, modes, gradients, which of its parameters want one.
    """
    parameters = dict(model.named_parameters())
    sums: dict[str, Tensor] = {}
    squares = dict.fromkeys((portion.name for portion in model_map.portions), 0.0)
    total = sample.predictions
    with held_in_fp32(parameters.values()), _all_gradients(model):
        for window in sample.windows:
            predictions = counted(window)
            if predictions == 0:
                continue
            input_ids, labels, mask = to_device(window, device)
            with autocast(precision, device):
                logits = model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
            (next_token_loss(logits, labels) / predictions).backward()
            for portion in model_map.portions:
                gradient = parameters[portion.parameter].grad
                if gradient is not None:
                    squares[portion.name] += portion.view_of(gradient).square().sum(dtype=torch.float64).item()
            for name, parameter in parameters.items():
                if parameter.grad is not None:
                    weighted = parameter.grad.mul_(predictions / total)
                    sums[name] = weighted if name not in sums else sums[name].add_(weighted)
                    parameter.grad = None
    norms: dict[str, float] = {}
    products: dict[str, float] = {}
    for portion in model_map.portions:
        gradient = sums.get(portion.parameter)
        if gradient is None:  # nothing reads it
            norms[portion.name] = products[portion.name] = 0.0
            continue
        own = portion.view_of(gradient)
        norms[portion.name] = math.sqrt(own.square().sum(dtype=torch.float64).item() / portion.values)
        weights = portion.view_of(parameters[portion.parameter].detach().float())
        products[portion.name] = (own * weights).abs().sum(dtype=torch.float64).item() / portion.values
    windows = len(sample.windows)
    fisher = {portion.name: squares[portion.name] / (windows * portion.values) for portion in model_map.portions}
    return [
        Signal(kind, by_place(model_map.portions, found))
        for kind, found in zip(KINDS, (norms, products, fisher), strict=True)
    ]


def by_place(portions: tuple[Portion, ...], values: dict[str, float]) -> dict[Place, float]:
    """Values of portions by layer and role: the mean over all weights that share both, such as a layer's norms."""
    totals: dict[Place, list[float]] = {}
    for portion in portions:
        weighted = totals.setdefault((portion.layer, portion.role), [0.0, 0.0])
        weighted[0] += values[portion.name] * portion.values
        weighted[1] += portion.values
    return {place: weighted / count for place, (weighted, count) in totals.items()}


@contextmanager
def _all_gradients(model: PreTrainedModel) -> Iterator[None]:
    """Evaluation mode, with gradients for every parameter; both as before afterwards."""
    training = [module for module in model.modules() if module.training]
    wanted = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    try:
        model.eval()
        for parameter, _, _ in wanted:
            parameter.requires_grad_(True)
            parameter.grad = None
        with torch.enable_grad():
            yield
    finally:
        for parameter, wants, gradient in wanted:
            parameter.requires_grad_(wants)
            parameter.grad = gradient
        for module in training:
            module.training = True
