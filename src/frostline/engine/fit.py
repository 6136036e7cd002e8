"""Which shortcuts are exact for this model? Each is tried on one window beside the plain model, and compared.

Families differ in what they do around their layers and their head: soft caps, scales, states handed past the layers,
noise. No table of families could be complete; a comparison of bits is. What is found is a `Fit`, which arms of one plan
share: it is tried once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from frostline.corpus import Batch
from frostline.engine.arm import to_device
from frostline.engine.device import random_devices, synchronize
from frostline.engine.frozen_weights import FrozenWeights, HeldWeights
from frostline.engine.int8_weights import quantise_frozen
from frostline.engine.nf4_weights import pack_frozen_in_nf4
from frostline.engine.partly_trained import use_needed_gradients
from frostline.engine.precision import autocast
from frostline.engine.prefix import NotStorableError, Prefix, PrefixTrial
from frostline.engine.prefix_store import PrefixStore
from frostline.engine.randomness import draws
from frostline.engine.stand_in import body_of, body_output, hidden_of, outputs_of_layers
from frostline.out_of_memory import is_out_of_memory
from frostline.plans import PROBE_ERRORS, AppliedPlan, ResolvedPlan, answering, decoder_stack, few_layers
from frostline.readable import percent
from frostline.recipe import TrainingSettings
from frostline.storage import let_go_of

HeadKind = Literal["linear", "own", "plain"]
"""One product with a matrix; more than that, run in chunks by the model's own code; or the whole model as it is."""

LARGE = 30.0
"""Hidden states this large reach the bend of a soft cap."""
_BITS_OF_THE_BASE = "prefixes of "
"""How a question begins whose arms all begin as the bits of the base model."""
TRIED_TOKENS = 256
"""Tokens of one window whose logits are compared: all of a long window's would be the largest tensors of a run."""
SAME_BATCH_TOLERANCE = {"bf16": 2e-2, "fp32": 1e-4}
"""Largest difference between a window in a batch and alone, as a share of the largest value: kernels round."""


@dataclass(frozen=True)
class Tried:
    """On which windows shortcuts are tried, and how."""

    sample: Batch
    device: torch.device
    precision: str
    uneven: Batch | None = None
    """Windows of lengths that differ as much as those of a step may; None where a step has one, or all have one."""


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


def _head_kind(
    model: PreTrainedModel, body: nn.Module | None, sample: Batch, device: torch.device, precision: str
) -> HeadKind:
    """How the logits come out of the hidden states that `body`, the model below its head, returns."""
    if body is None:
        return "plain"
    output = run_body(model, body, sample, device, precision)
    hidden = hidden_of(output)
    if hidden is None or not isinstance(output, ModelOutput):
        return "plain"
    # As many rows as the whole model multiplies at once: of fewer, cuBLAS may round a product otherwise.
    own = run_head(model, body, output, hidden.flatten(0, 1), device, precision)
    if not torch.equal(own, logits_of(model, sample, device, precision).flatten(0, 1).to(own.dtype)):
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
class Fit:
    """Which shortcuts are exact for a model under one plan."""

    converted: bool
    """Whether frozen weights may be held in the precision in which they are used."""
    head: HeadKind
    prefix: PrefixTrial | None
    """What the prefix of a window costs; None where there is no prefix."""
    layer_output: object
    """What a layer returned once."""
    body_output: ModelOutput | None
    """What the model below its head returned once; its own head is handed this with other hidden states."""

    @property
    def notes(self) -> list[str]:
        """What cannot be used, in sentences."""
        notes = []
        if not self.converted:
            notes.append("Frozen weights stay in fp32: this family uses them in more than one precision.")
        if self.prefix is not None and self.prefix.refusal is not None:
            notes.append(f"Frozen layers at the bottom are computed in each step: {self.prefix.refusal}.")
        return notes


@dataclass(frozen=True)
class SharedParts:
    """What the arms of an experiment have in common."""

    frozen: FrozenWeights
    store: PrefixStore
    depths: tuple[int, ...]
    """Prefix depths of all arms, ascending: rows are kept at each of them on the way up."""
    keep_base: bool
    """Whether the base model stays in memory beside the arms."""
    evaluated: set[bytes] = field(default_factory=set)
    """Keys of the windows that were evaluated: they come back at every evaluation."""
    fills: bool = False
    """Whether rows are made before training, layer by layer (`prefix_fill`)."""
    fits: dict[str, Fit] = field(default_factory=dict)
    """What fits the model under each plan, or under all that begin alike, so that it is tried once."""
    alone: bool = False
    """Whether the store is one arm's, and its frozen weights are shared with others all the same."""


@dataclass(frozen=True)
class FittedModel:
    """An arm's model with its frozen weights held as they are used, and what else may be done with it."""

    applied: AppliedPlan
    fit: Fit
    held: HeldWeights
    body: nn.Module | None
    """The model below its head; None where it cannot be told."""
    notes: tuple[str, ...]
    """What was found out about the model, in sentences."""

    @property
    def prefix_trial(self) -> PrefixTrial | None:
        """What the prefix of a window costs; None where it is computed with the rest, or where there is none."""
        trial = self.fit.prefix
        return trial if trial is not None and trial.refusal is None else None


def fit_model(
    applied: AppliedPlan,
    shared: SharedParts,
    training: TrainingSettings,
    *,
    device: torch.device,
    precision: str,
    sample: Batch,
    uneven: Batch | None = None,
    few: bool = False,
    keep_joined: bool = True,
) -> FittedModel:
    """Find out on `sample`, or remember, what is exact for an arm's model; hold its frozen weights accordingly.

    `uneven` are windows whose lengths differ as much as those of a step may, None where they do not differ.
    With `few`, only layers that train, and one of each kind, are tried (`plans.few_layers`). With
    `keep_joined`, matrices that are put together from their parts stay so until the next step.
    """
    model = applied.model
    use_needed_gradients(model, keep=keep_joined)
    body = body_of(model)  # asked while every weight is in fp32: the model is called as it is
    question, short = _question(applied, training, precision), _few_tokens(sample)
    asking = few_layers(model, applied.resolved.trained_layers, wanted=few)
    with torch.random.fork_rng(devices=random_devices(device)), asking as running:
        known = shared.fits.get(question)
        if known is not None and not known.converted:
            return FittedModel(applied, known, HeldWeights(applied), body, tuple(known.notes))
        if known is not None or precision != "bf16" or training.frozen_weights != "exact":
            held, notes = _hold_frozen(applied, shared, training)
            converted = True
        else:
            expected = logits_of(model, short, device, precision)
            held, notes = shared.frozen.hold(applied), ()
            converted = torch.equal(expected, logits_of(model, short, device, precision))
            if converted:
                _forget_bases(applied, shared, held)
            else:
                held.restore()
        if known is None:
            tried = Tried(sample, device, precision, uneven)
            known = _try_everything(applied, shared, body, tried, converted, running, _fit_alike(shared, question))
            shared.fits[question] = known
    return FittedModel(applied, known, held, body, (*notes, *known.notes))


def _question(applied: AppliedPlan, training: TrainingSettings, precision: str) -> str:
    """What the answer depends on: the plan; where all arms begin as the same bits, only where its prefixes end."""
    if precision == "fp32" and applied.plan.lora is None and training.frozen_weights == "exact":
        return f"{_BITS_OF_THE_BASE}{prefix_depths(applied.resolved)}"
    return applied.plan.text


def _fit_alike(shared: SharedParts, question: str) -> Fit | None:
    """What fits an arm that begins as the same bits, whatever its prefixes: it has the same head."""
    if not question.startswith(_BITS_OF_THE_BASE):
        return None
    return next((own for asked, own in shared.fits.items() if asked.startswith(_BITS_OF_THE_BASE)), None)


def _hold_frozen(
    applied: AppliedPlan, shared: SharedParts, training: TrainingSettings
) -> tuple[HeldWeights, tuple[str, ...]]:
    """Frozen weights in the precision in which they are used, or in fewer bits; and what is to be told of it."""
    if training.frozen_weights == "exact":
        held = shared.frozen.hold(applied)
        _forget_bases(applied, shared, held)
        return held, ()
    model = applied.model
    bases = {name: value.data for name, value in model.named_parameters()}
    report = quantise_frozen(applied) if training.frozen_weights == "int8" else pack_frozen_in_nf4(applied)
    held = HeldWeights(applied)
    for name, parameter in model.named_parameters():
        if parameter.dtype != bases[name].dtype:
            held.replace(name.replace(".base_layer.", "."), parameter, parameter.data, bases[name])
    if not shared.keep_base:
        let_go_of(bases.values())
        held.forget_bases()
    note = (
        f"{report.matrices} frozen matrices are held in {training.frozen_weights}: inexact, by up to "
        f"{percent(report.largest_relative_error)} of their norm."
    )
    return held, (note,)


def _forget_bases(applied: AppliedPlan, shared: SharedParts, held: HeldWeights) -> None:
    if not shared.keep_base:
        shared.frozen.forget_bases()
        held.forget_bases()


def _try_everything(
    applied: AppliedPlan,
    shared: SharedParts,
    body: nn.Module | None,
    tried: Tried,
    converted: bool,
    running: Sequence[int],
    alike: Fit | None,
) -> Fit:
    """`alike` is what fits an arm with the same head, if one was tried."""
    model, depths, few = applied.model, prefix_depths(applied.resolved), _few_tokens(tried.sample)
    head = _head_kind(model, body, few, tried.device, tried.precision) if alike is None else alike.head
    trial, example = None, None
    if depths and (body is None or head == "plain"):
        trial = PrefixTrial("its head cannot be told from its body")
    elif depths and body is not None:
        try:
            trial, example = try_prefix(applied, shared, body, tried, running)
        except PROBE_ERRORS as error:
            # Its forward pass makes more of its layers than can be foreseen; as a whole it runs.
            if is_out_of_memory(error):
                raise
            trial = PrefixTrial(f"the model does not run with its layers stood in for ({type(error).__name__})")
    if alike is not None:
        return Fit(converted, head, trial, example, alike.body_output)
    output = None if body is None else run_body(model, body, few, tried.device, tried.precision)
    return Fit(converted, head, trial, example, output if isinstance(output, ModelOutput) else None)


def prefix_depths(resolved: ResolvedPlan) -> list[int]:
    """Depths of the prefixes that a plan has over time, ascending; without 0."""
    return sorted({phase.prefix_layers for phase in resolved.phases} - {0})


def try_prefix(
    applied: AppliedPlan,
    shared: SharedParts,
    body: nn.Module,
    tried: Tried,
    running: Sequence[int],
) -> tuple[PrefixTrial, object]:
    """Whether the prefix of windows can be stood in for at the plan's depths; time and size are those of the deepest.

    Of one window bits are compared; of windows beside one another, and beside much longer ones, values: some families
    turn all windows of a batch by the length of the longest. The time is that of the layers that are `running`, taken
    for the others too. With it comes what a layer returned.
    """
    model, depths = applied.model, prefix_depths(applied.resolved)
    _, layers = decoder_stack(model)
    deepest = max(depths)
    kept_apart = {module for layer in layers[deepest:] for module in layer.modules()}
    for name, module in model.named_modules():
        if module not in kept_apart and draws(module):
            return PrefixTrial(f"'{name}' draws random numbers below the frost line"), None
    sample, device, precision = tried.sample, tried.device, tried.precision
    first = _first_window(sample)
    input_ids, _, mask = to_device(first, device)
    with torch.no_grad(), autocast(precision, device):
        example = outputs_of_layers(model, layers, input_ids, mask, wanted=[deepest], start=None)[deepest]
    prefix = Prefix(
        model, layers, shared.store, device=device, precision=precision, keep=False, depths=shared.depths,
        example=example,
    )  # fmt: skip
    try:
        torch.manual_seed(1)
        rows = prefix.compute(input_ids, mask, depths)
        torch.manual_seed(2)
        synchronize(device)
        started = time.perf_counter()
        again = prefix.compute(input_ids, mask, depths)
        synchronize(device)
        seconds = (time.perf_counter() - started) * deepest / sum(index < deepest for index in running)
        apart = prefix.compute_by_layers(input_ids, mask, deepest) if shared.fills else rows
    except NotStorableError as reason:
        return PrefixTrial(str(reason)), None
    if any(not torch.equal(rows[depth], again[depth]) for depth in depths):
        return PrefixTrial("its layers do not give the same twice"), None
    if any(not torch.equal(rows[depth], apart[depth]) for depth in depths):
        return PrefixTrial("its layers hand on more than one hidden state"), None
    for depth in depths:
        plain = hidden_of(run_body(model, body, first, device, precision))
        with answering(prefix.answers(rows[depth].unsqueeze(0), depth)):
            short = hidden_of(run_body(model, body, first, device, precision))
        if plain is None or short is None or not torch.equal(plain, short):
            return PrefixTrial("its layers hand on more than one hidden state"), None
        for windows in (sample,) if tried.uneven is None else (sample, tried.uneven):
            with answering(prefix.answers(prefix.rows(windows, depth), depth)):
                short = hidden_of(run_body(model, body, windows, device, precision))
            plain = hidden_of(run_body(model, body, windows, device, precision))
            if plain is None or short is None or not _close(plain, short, windows, precision):
                return PrefixTrial("a window's hidden states depend on the windows beside it"), None
    deepest_row = rows[deepest]
    return PrefixTrial(None, seconds, deepest_row.numel() * deepest_row.element_size()), example


def _close(plain: Tensor, short: Tensor, sample: Batch, precision: str) -> bool:
    """Whether the hidden states of the tokens of `sample` are the same but for rounding; what padding has is free."""
    if sample.is_token is not None:
        read = torch.from_numpy(sample.is_token).to(plain.device)
        plain, short = plain[read], short[read]
    largest = plain.abs().max().item()
    return (plain - short).abs().max().item() <= SAME_BATCH_TOLERANCE[precision] * largest


def _few_tokens(sample: Batch) -> Batch:
    return _first_window(sample, TRIED_TOKENS)


def _first_window(sample: Batch, tokens: int | None = None) -> Batch:
    """The first window of `sample`, or as many of its first tokens."""
    return Batch(
        input_ids=sample.input_ids[:1, :tokens],
        labels=sample.labels[:1, :tokens],
        attention_mask=None if sample.attention_mask is None else sample.attention_mask[:1, :tokens],
        window_ids=sample.window_ids[:1],
        windows_sha256=sample.windows_sha256,
    )
