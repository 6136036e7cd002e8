"""Where does the loss pull? Gradients of a sample's loss, by portion: how large, against the weights, how steady.

Window by window, in evaluation mode, so that dropout has no part in it. A sum over the windows is kept for one group of
parameters at a time, and a gradient is dropped as soon as it was added: beside the weights there are never more than
`GROUP_BYTES` of sums (or one parameter's), however large the model. A small model is one group, read in one pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from frostline.corpus import NOT_COUNTED, Batch
from frostline.engine import (
    autocast,
    body_output,
    held_in_fp32,
    hidden_of,
    next_token_loss,
    own_head_loss,
    run_head,
    to_device,
)
from frostline.measures import head_where_logits_are_many
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
GROUP_BYTES = 2_000_000_000
"""Sums of gradients kept at once."""
KINDS = (GRADIENT_NORM, GRADIENT_WEIGHT, FISHER)


def gradient_signals(
    model: PreTrainedModel, model_map: ModelMap, sample: Sample, *, device: torch.device, precision: str
) -> list[Signal]:
    """`GRADIENT_NORM`, `GRADIENT_WEIGHT` and `FISHER` of every portion of the untouched `model`.

    The model is afterwards what it was: weights, modes, gradients, which of its parameters want one.
    """
    squares = dict.fromkeys((portion.name for portion in model_map.portions), 0.0)
    norms, products = dict(squares), dict(squares)
    portions: dict[str, list[Portion]] = {}
    for portion in model_map.portions:
        portions.setdefault(portion.parameter, []).append(portion)
    with _evaluating(model):
        for group in _groups(model):
            with held_in_fp32(group.values()):  # a gradient has the type of what it is for
                sums = _summed(model, group, portions, sample, squares, device, precision)
            for name, gradient in sums.items():
                for portion in portions.get(name, []):
                    own = portion.view_of(gradient)
                    norms[portion.name] = math.sqrt(own.square().sum(dtype=torch.float64).item() / portion.values)
                    weights = portion.view_of(group[name].detach().float())
                    products[portion.name] = (own * weights).abs().sum(dtype=torch.float64).item() / portion.values
    windows = len(sample.windows)
    fisher = {portion.name: squares[portion.name] / (windows * portion.values) for portion in model_map.portions}
    return [
        Signal(kind, by_place(model_map.portions, found))
        for kind, found in zip(KINDS, (norms, products, fisher), strict=True)
    ]


def _groups(model: PreTrainedModel) -> Iterator[dict[str, nn.Parameter]]:
    """All parameters, in the model's order, as many at a time as have `GROUP_BYTES` of gradients; at least one."""
    group: dict[str, nn.Parameter] = {}
    held = 0
    for name, parameter in model.named_parameters():
        own = 4 * parameter.numel()
        if group and held + own > GROUP_BYTES:
            yield group
            group, held = {}, 0
        group[name] = parameter
        held += own
    if group:
        yield group


def _summed(
    model: PreTrainedModel,
    group: dict[str, nn.Parameter],
    portions: Mapping[str, Sequence[Portion]],
    sample: Sample,
    squares: dict[str, float],
    device: torch.device,
    precision: str,
) -> dict[str, Tensor]:
    """Gradients of the sample's mean loss for the parameters of `group`; those that nothing reads are left out.

    `squares` grows by the squares of each window's own gradient, by portion.
    """
    sums: dict[str, Tensor] = {}
    weight = 0.0

    def take(name: str, parameter: Tensor) -> None:
        """Add a gradient that is whole, and drop it before the next one is there."""
        gradient, parameter.grad = parameter.grad, None
        assert gradient is not None
        for portion in portions.get(name, ()):
            squares[portion.name] += portion.view_of(gradient).square().sum(dtype=torch.float64).item()
        gradient = gradient.float().mul_(weight)
        sums[name] = gradient if name not in sums else sums[name].add_(gradient)

    for parameter in group.values():
        parameter.requires_grad_(True)
    hooks = [parameter.register_post_accumulate_grad_hook(partial(take, name)) for name, parameter in group.items()]
    try:
        for window in sample.windows:
            predictions = counted(window)
            if predictions == 0:
                continue
            weight = predictions / sample.predictions
            loss = _window_loss(model, window, device=device, precision=precision)
            if loss.requires_grad:
                loss.backward()
    finally:
        for hook in hooks:
            hook.remove()
        for parameter in group.values():
            parameter.requires_grad_(False)
    return sums


def _window_loss(model: PreTrainedModel, window: Batch, *, device: torch.device, precision: str) -> Tensor:
    """Mean loss of the counted tokens of `window`, in nats; never with more than a few logits where they are many."""
    apart = head_where_logits_are_many(model, window.input_ids, device=device, precision=precision)
    input_ids, labels, mask = to_device(window, device)
    with autocast(precision, device):
        if apart is None:
            logits = model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
            return next_token_loss(logits, labels) / counted(window)
        hidden = hidden_of(body_output(model, apart.body, input_ids, mask))
    assert hidden is not None
    targets = window.labels[0, 1:]
    places = np.flatnonzero(targets != NOT_COUNTED)
    below = {id(parameter) for parameter in apart.body.parameters()}
    head = {id(parameter) for parameter in model.get_output_embeddings().parameters()}
    return own_head_loss(
        lambda chunk: run_head(model, apart.body, apart.output, chunk, device, precision),
        [own for own in model.parameters() if own.requires_grad and (id(own) not in below or id(own) in head)],
        hidden[0].index_select(0, torch.from_numpy(places).to(device)),
        torch.from_numpy(targets[places]).to(device),
        1 / counted(window),
        model.config.get_text_config().vocab_size,
    )


def by_place(portions: tuple[Portion, ...], values: dict[str, float]) -> dict[Place, float]:
    """Values of portions by layer and role: the mean over all weights that share both, such as a layer's norms."""
    totals: dict[Place, list[float]] = {}
    for portion in portions:
        weighted = totals.setdefault((portion.layer, portion.role), [0.0, 0.0])
        weighted[0] += values[portion.name] * portion.values
        weighted[1] += portion.values
    return {place: weighted / count for place, (weighted, count) in totals.items()}


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Evaluation mode, with no parameter that wants a gradient; both as before afterwards."""
    training = [module for module in model.modules() if module.training]
    wanted = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    try:
        model.eval()
        for parameter, _, _ in wanted:
            parameter.requires_grad_(False)
            parameter.grad = None
        with torch.enable_grad():
            yield
    finally:
        for parameter, wants, gradient in wanted:
            parameter.requires_grad_(wants)
            parameter.grad = gradient
        for module in training:
            module.training = True
