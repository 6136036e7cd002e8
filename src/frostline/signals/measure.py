"""Which signals are there, and what does a model's sample say of each? Each pass is made once for all that need it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from frostline.errors import ModelError
from frostline.measures import ModelIdentity
from frostline.out_of_memory import MEMORY_ERRORS, is_out_of_memory
from frostline.plans import ModelMap
from frostline.recipe import require_signal
from frostline.signals.ablation import ABLATION, ablation_signal
from frostline.signals.attention import DISTANCE, ENTROPY, attention_signals
from frostline.signals.general import write_general_text
from frostline.signals.gradients import FISHER, GRADIENT_NORM, GRADIENT_WEIGHT, gradient_signals
from frostline.signals.residual import (
    BLOCK_INFLUENCE,
    CKA,
    FOREIGN,
    LENS_AGREEMENT,
    LENS_LOSS,
    residual_signals,
)
from frostline.signals.sample import Sample
from frostline.signals.signal import Signal, SignalKind
from frostline.signals.spectra import SNR, spectrum_signal

GRADIENTS = (GRADIENT_NORM, GRADIENT_WEIGHT, FISHER)
RESIDUAL = (BLOCK_INFLUENCE, CKA, LENS_LOSS, LENS_AGREEMENT, FOREIGN)
ATTENTION = (ENTROPY, DISTANCE)
KINDS: dict[str, SignalKind] = {kind.name: kind for kind in (*GRADIENTS, SNR, ABLATION, *RESIDUAL, *ATTENTION)}
"""Every signal by name, in the order of pages and tables."""
ADVISING = tuple(kind.name for kind in (*GRADIENTS, SNR))
"""Signals that an advice looks at, unless asked for others: they rank single matrices, and are the quickest to measure.
How well each signal knew where training pays is in bench/RESULTS.md."""


@dataclass(frozen=True)
class SignalInputs:
    """What is looked at: an untouched model on its device, its map, a sample of the corpus."""

    model: PreTrainedModel
    map: ModelMap
    sample: Sample
    device: torch.device
    precision: str
    identity: ModelIdentity | None = None
    """What decides the bits of the model's forward pass, where it has been hashed."""


def measure_signals(
    inputs: SignalInputs,
    names: Iterable[str] = tuple(KINDS),
    *,
    say: Callable[[str], None] = lambda sentence: None,
) -> dict[str, Signal]:
    """The signals of these names, in their order.

    Raises `PlanError` for a name that is none, `ModelError` where the model cannot be looked at in this way.
    """
    names = tuple(names)
    for name in names:
        require_signal(name)
    model, sample = inputs.model, inputs.sample
    device, precision = inputs.device, inputs.precision
    wanted = {KINDS[name] for name in names}
    found: list[Signal] = []
    if wanted & set(GRADIENTS):
        say("Looking at gradients")
        try:
            found += gradient_signals(model, inputs.map, sample, device=device, precision=precision)
        except MEMORY_ERRORS as error:
            if not is_out_of_memory(error):
                raise
            raise ModelError(
                "the gradients of all weights do not fit into memory beside the model.",
                "Use shorter windows (windows.length), or signals that need no gradient, such as snr.",
            ) from error
    if SNR in wanted:
        say("Looking at singular values")
        found.append(spectrum_signal(inputs.map, dict(model.named_parameters()).__getitem__))
    if ABLATION in wanted:
        say("Leaving out one layer after another")
        found.append(ablation_signal(model, inputs.map, sample, device=device, precision=precision))
    if wanted & set(RESIDUAL):
        general = None
        if FOREIGN in wanted:
            say("Letting the model write general text")
            length = sample.windows[0].input_ids.shape[1]
            general = write_general_text(model, length, device=device, precision=precision)
        say("Looking at the stream between the layers")
        found += residual_signals(model, sample, general=general, device=device, precision=precision)
    if wanted & set(ATTENTION):
        say("Looking at attention")
        found += attention_signals(model, sample, device=device, precision=precision)
    by_name = {signal.kind.name: signal for signal in found}
    return {name: by_name[name] for name in names}
