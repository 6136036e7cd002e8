"""Which shortcuts are exact for this model? Each is tried on one window beside the plain model, and compared.

Families differ in what they do around their layers and their head: soft caps, scales, states handed past the layers,
noise. No table of families could be complete; a comparison of bits is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from frostline.corpus import Batch
from frostline.engine.arm import to_device
from frostline.engine.precision import autocast
from frostline.engine.prefix import NotStorableError, Prefix
from frostline.engine.stand_in import answering, body_output, hidden_of

HeadKind = Literal["linear", "own", "plain"]
"""One product with a matrix; more than that, run in chunks by the model's own code; or the whole model as it is."""

_RANDOM = re.compile(r"drop|jitter|noise")
LARGE = 30.0
"""Hidden states this large reach the bend of a soft cap."""
SAME_BATCH_TOLERANCE = {"bf16": 2e-2, "fp32": 1e-4}
"""Largest difference between a window in a batch and alone, as a share of the largest value: kernels round."""


def logits_of(model: PreTrainedModel, sample: Batch, device: torch.device, precision: str) -> Tensor:
    """The logits of `sample` by the plain model; always the same random numbers."""
    input_ids, _, attention_mask = to_device(sample, device)
    torch.manual_seed(0)
    with torch.no_grad(), autocast(precision, device):
        logits: object = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
    assert isinstance(logits, Tensor)
    return logits


def run_body(model: PreTrainedModel, body: nn.Module, sample: Batch, device: torch.device, precision: str) -> object:
    """What `body`, the model below its head, returns for `sample`, with the same random numbers."""
    input_ids, _, attention_mask = to_device(sample, device)
    torch.manual_seed(0)
    with torch.no_grad(), autocast(precision, device):
        return body_output(model, body, input_ids, attention_mask)


def settle_head(
    model: PreTrainedModel, body: nn.Module | None, sample: Batch, device: torch.device, precision: str
) -> HeadKind:
    """How the logits come out of the hidden states that `body`, the model below its head, returns."""
    if body is None:
        return "plain"
    output = run_body(model, body, sample, device, precision)
    hidden = hidden_of(output)
    if hidden is None or not isinstance(output, ModelOutput):
        return "plain"
    own = run_head(model, body, output, hidden[0], device, precision)
    if not torch.equal(own, logits_of(model, sample, device, precision)[0].to(own.dtype)):
        return "plain"
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear or parametrize.is_parametrized(head):
        return "own"
    large = torch.randn(hidden[0].shape, generator=torch.Generator().manual_seed(0)).to(hidden) * LARGE
    dtype = torch.bfloat16 if precision == "bf16" else large.dtype
    bias = None if head.bias is None else head.bias.to(dtype)
    product = F.linear(large.to(dtype), head.weight.to(dtype), bias)
    bent = run_head(model, body, output, large, device, precision)
    return "linear" if torch.equal(product.float(), bent.float()) else "own"


def run_head(
    model: PreTrainedModel, body: nn.Module, output: ModelOutput, hidden: Tensor, device: torch.device, precision: str
) -> Tensor:
    """[tokens, vocabulary] logits of [tokens, hidden], by the model's own code; `output` is what `body` once gave."""
    replaced = type(output)(**{**output, "last_hidden_state": hidden.unsqueeze(0)})
    placeholder = torch.zeros((1, len(hidden)), dtype=torch.int64, device=device)
    with answering({body: lambda *args, **kwargs: replaced}), autocast(precision, device):
        logits: Tensor = model(input_ids=placeholder, use_cache=False).logits[0]
    return logits


@dataclass(frozen=True)
class PrefixTrial:
    """What came of running the prefix of one window apart from the rest."""

    refusal: str | None
    """Why it cannot be stood in for; None if it can."""
    seconds: float = 0.0
    row_bytes: int = 0


@dataclass(frozen=True)
class Settled:
    """What was found out about a model under one plan."""

    converted: bool
    """Whether frozen weights may be held in the precision in which they are used."""
    head: HeadKind
    prefix: PrefixTrial | None
    """None where there is no prefix."""
    layer_output: object
    """What a layer returned once."""
    body_output: ModelOutput | None
    """What the model below its head returned once; its own head is handed this with other hidden states."""


def settle_prefix(prefix: Prefix, body: nn.Module, sample: Batch, depths: Sequence[int]) -> PrefixTrial:
    """Whether the prefix can be stood in for at `depths`; time and size are those of the deepest."""
    model, layers, deepest = prefix.model, prefix.layers, max(depths)
    kept_apart = {module for layer in layers[deepest:] for module in layer.modules()}
    for name, module in model.named_modules():
        if module not in kept_apart and _draws(module):
            return PrefixTrial(f"'{name}' draws random numbers below the frost line")
    first = _first_window(sample)
    input_ids, _, mask = to_device(first, prefix.device)
    try:
        torch.manual_seed(1)
        rows = prefix.compute(input_ids, mask, depths)
        torch.manual_seed(2)
        started = time.perf_counter()
        again = prefix.compute(input_ids, mask, depths)
        seconds = time.perf_counter() - started
    except NotStorableError as reason:
        return PrefixTrial(str(reason))
    if any(not torch.equal(rows[depth], again[depth]) for depth in depths):
        return PrefixTrial("its layers do not give the same twice")
    for depth in depths:
        plain = hidden_of(run_body(model, body, first, prefix.device, prefix.precision))
        with answering(prefix.answers(rows[depth].unsqueeze(0), depth)):
            short = hidden_of(run_body(model, body, first, prefix.device, prefix.precision))
        if plain is None or short is None or not torch.equal(plain, short):
            return PrefixTrial("its layers hand on more than one hidden state")
        with answering(prefix.answers(prefix.rows(sample, depth), depth)):
            short = hidden_of(run_body(model, body, sample, prefix.device, prefix.precision))
        plain = hidden_of(run_body(model, body, sample, prefix.device, prefix.precision))
        if plain is None or short is None or not _close(plain, short, prefix.precision):
            return PrefixTrial("a window's hidden states depend on the windows beside it")
    deepest_row = rows[deepest]
    return PrefixTrial(None, seconds, deepest_row.numel() * deepest_row.element_size())


def _close(plain: Tensor, short: Tensor, precision: str) -> bool:
    largest = plain.abs().max().item()
    return (plain - short).abs().max().item() <= SAME_BATCH_TOLERANCE[precision] * largest


def _draws(module: nn.Module) -> bool:
    """Whether a module of its own draws random numbers in training: dropout, layer drop, router noise."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    return any(isinstance(value, float) and value > 0 for name, value in vars(module).items() if _RANDOM.search(name))


def _first_window(sample: Batch) -> Batch:
    return Batch(
        input_ids=sample.input_ids[:1],
        labels=sample.labels[:1],
        attention_mask=None if sample.attention_mask is None else sample.attention_mask[:1],
        window_ids=sample.window_ids[:1],
        windows_sha256=sample.windows_sha256,
    )
