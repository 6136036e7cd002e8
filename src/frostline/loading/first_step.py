"""Can what an arm trains be trained? One short pass forward and backward over the corpus, before anything is written.

Finite logits prove less: an operation may have no gradient, or an infinite one, and a family may ask for more in
training mode than it does otherwise. What stops here would stop every arm at its first step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from frostline.corpus import Batch
from frostline.engine import (
    autocast,
    held_in_fp32,
    next_token_loss,
    random_devices,
    to_device,
)
from frostline.errors import FrostlineError, ModelError
from frostline.loading.boundary import SOURCE_KEY, loading
from frostline.out_of_memory import MEMORY_ERRORS, is_out_of_memory
from frostline.recipe import ModelSettings

SHORT = 16
"""Tokens of the pass: a whole window only where so few do not go."""
_SEED = 20


def require_step(
    model: PreTrainedModel, settings: ModelSettings, batch: Batch, trained: Collection[str], precision: str
) -> None:
    """Raise `ModelError` unless the loss of the first window of `batch` has finite gradients for all of `trained`.

    `trained` names parameters. Model and random state are left as they were; of the gradients one is kept at a time.
    Nothing is said where memory runs out: what a step needs is measured elsewhere.
    """
    ids, labels, mask = (None if own is None else own[:1] for own in to_device(batch, model.device))
    assert ids is not None
    assert labels is not None
    filed = [parameter for name, parameter in model.named_parameters() if name in trained]
    with held_in_fp32(filed), _training(model, trained) as not_finite:
        for length in sorted({min(SHORT, ids.shape[1]), ids.shape[1]}):
            part = None if mask is None else mask[:, :length]
            try:
                with loading(settings, "training step"):
                    loss = _pass(model, ids[:, :length], labels[:, :length], part, precision)
                break
            except FrostlineError:
                if length == ids.shape[1]:
                    raise
    if loss is None:
        return
    if not_finite or not loss.isfinite():
        finding = f"the gradient of '{not_finite[0]}' is" if loss.isfinite() else "the loss is"
        raise ModelError(
            f"{finding} not finite in a training step of '{settings.source}' on the first window of the corpus.",
            "Give another model, or text without its padding token.",
        ).at(*SOURCE_KEY)


def _pass(model: PreTrainedModel, ids: Tensor, labels: Tensor, mask: Tensor | None, precision: str) -> Tensor | None:
    """The loss of one pass, after going back through it; None where memory ran out."""
    torch.manual_seed(_SEED)
    try:
        with autocast(precision, model.device):
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        loss = next_token_loss(logits, labels)
        if loss.requires_grad:  # layer drop may leave out all that trains
            loss.backward()
    except MEMORY_ERRORS as error:
        if is_out_of_memory(error):
            return None
        raise
    return loss.detach()


@contextmanager
def _training(model: PreTrainedModel, trained: Collection[str]) -> Iterator[list[str]]:
    """In the block `trained` alone gets gradients, each forgotten at once; gives the names of those not finite."""
    modes = [(module, module.training) for module in model.modules()]
    needed = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    not_finite: list[str] = []

    def look_at(name: str, parameter: nn.Parameter) -> None:
        gradient, parameter.grad = parameter.grad, None
        if gradient is not None and not gradient.sum().isfinite() and not gradient.isfinite().all():
            not_finite.append(name)

    handles = []
    try:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in trained)
            if name in trained:
                handles.append(parameter.register_post_accumulate_grad_hook(lambda own, name=name: look_at(name, own)))
        model.train()
        with torch.random.fork_rng(devices=random_devices(model.device)):
            yield not_finite
    finally:
        for handle in handles:
            handle.remove()
        for parameter, needs in needed:
            parameter.requires_grad_(needs)
            parameter.grad = None
        for module, mode in modes:
            module.training = mode
        for buffer, before in buffers:
            buffer.copy_(before)
