"""What is the loss of each token, without ever holding the logits of more than a few?

The logits of 8 windows of 4,096 tokens are 17 GB for a vocabulary of 128,000. So a forward pass reads a bounded number
of tokens, and where their logits would still be large it stops below the head: the model's own head then reads the
hidden states a few positions at a time. That this gives the model's logits is tried on its first tokens; a model of
which it is not true is run as a whole, one window at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from frostline.corpus import NOT_COUNTED, Batch
from frostline.engine import (
    Beginning,
    autocast,
    body_of,
    body_output,
    cut_like_widths,
    held_in_fp32,
    hidden_of,
    run_head,
    to_device,
)
from frostline.measures.forward import CHUNK_VALUES, next_token_losses
from frostline.plans import answering, few_layers

MOST_TOKENS = 2048
"""Tokens of one forward pass, where a single window has no more."""
TRIED_TOKENS = 32
"""Tokens on which a model shows that its head can be run apart."""


ROUNDING = {"fp32": 1e-4, "bf16": 2e-2}
"""Largest difference that is rounding, as a share of the largest logit."""


@dataclass(frozen=True)
class Apart:
    """A model whose head gives the same logits when it is run on hidden states alone."""

    body: nn.Module
    """The model below its head."""
    output: ModelOutput
    """What the body returned once; the head is handed this with other hidden states."""


_known: WeakKeyDictionary[PreTrainedModel, dict[str, Apart | None]] = WeakKeyDictionary()
"""What was found out about each model, by precision: it is tried once."""


def few_windows(batch: Batch) -> Iterator[Batch]:
    """The windows of `batch`, in order, as many at a time as make at most `MOST_TOKENS` tokens; at least one."""
    windows, length = batch.input_ids.shape
    size = max(1, MOST_TOKENS // max(1, length))
    if windows <= size:
        yield batch
        return
    for start in range(0, windows, size):
        yield batch.of_rows(range(start, min(start + size, windows)))


def token_losses(
    model: PreTrainedModel,
    batch: Batch,
    *,
    device: torch.device,
    precision: str,
    beginning: Beginning | None = None,
) -> Float[Tensor, "batch predictions"]:
    """-log P of each next token in nats, in float32; 0 where the label is not counted. Inside `untouched_forward`.

    What `beginning` gives for the windows stands in for layers of the model (see `engine.answering`).
    """
    windows = len(batch.input_ids)
    parts = cut_like_widths(batch, windows, device.type)
    if len(parts) > 1:
        return _in_parts(model, batch, parts, device=device, precision=precision, beginning=beginning)
    length = batch.input_ids.shape[1]
    apart = head_where_logits_are_many(model, batch.input_ids, device=device, precision=precision)
    if apart is None and windows > 1 and windows * length * _vocabulary(model) > CHUNK_VALUES:
        rows = [[row] for row in range(windows)]
        return _in_parts(model, batch, rows, device=device, precision=precision, beginning=beginning)
    input_ids, labels, mask = to_device(batch, device)
    with answering({} if beginning is None else beginning(batch)):
        if apart is None:
            return next_token_losses(model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits, labels)
        hidden = hidden_of(body_output(model, apart.body, input_ids, mask))
    assert hidden is not None
    return _losses_of(model, apart, hidden, batch, device, precision)


def _in_parts(
    model: PreTrainedModel,
    batch: Batch,
    parts: Sequence[Sequence[int]],
    *,
    device: torch.device,
    precision: str,
    beginning: Beginning | None,
) -> Float[Tensor, "batch predictions"]:
    """The losses of `batch`, the windows in the rows of each of `parts` alone."""
    losses = torch.zeros((len(batch.input_ids), batch.input_ids.shape[1] - 1), device=device)
    for rows in parts:
        part = batch.of_rows(rows)
        own = token_losses(model, part, device=device, precision=precision, beginning=beginning)
        losses[list(rows), : own.shape[1]] = own
    return losses


def head_where_logits_are_many(
    model: PreTrainedModel, ids: NDArray[np.int64], *, device: torch.device, precision: str
) -> Apart | None:
    """How the head of `model` is run apart from the rest; None where it cannot, or where the logits are few.

    They are those of `ids` [batch, sequence].

    In evaluation mode. What a model can is tried once, on tokens of `ids`.
    """
    if ids.size * _vocabulary(model) <= CHUNK_VALUES:
        return None
    known = _known.setdefault(model, {})
    if precision not in known:
        known[precision] = _try_apart(model, torch.from_numpy(ids[:1, :TRIED_TOKENS]), device, precision)
    return known[precision]


@contextmanager
def last_logits_alone(
    model: PreTrainedModel, tokens: Int[Tensor, "batch sequence"], *, device: torch.device, precision: str
) -> Iterator[None]:
    """In the block, a model that reads `tokens` gives the logits of the last position of each text alone.

    Where all of them would be few, or its head cannot be run apart, it gives all. Inside `untouched_forward`.
    """
    apart = head_where_logits_are_many(model, tokens.cpu().numpy(), device=device, precision=precision)
    if apart is None:
        yield
        return
    run = apart.body.forward

    def run_and_cut(*args: object, **kwargs: object) -> object:
        output = run(*args, **kwargs)
        return type(output)(**{**output, "last_hidden_state": output["last_hidden_state"][:, -1:]})

    with answering({apart.body: run_and_cut}):
        yield


def _losses_of(
    model: PreTrainedModel,
    apart: Apart,
    hidden: Float[Tensor, "batch sequence hidden"],
    batch: Batch,
    device: torch.device,
    precision: str,
) -> Float[Tensor, "batch sequence-1"]:
    """Only positions whose next token is counted reach the head."""
    targets = batch.labels[:, 1:].reshape(-1)
    counted = np.flatnonzero(targets != NOT_COUNTED)
    places, labels = torch.from_numpy(counted).to(device), torch.from_numpy(targets[counted]).to(device)
    rows = hidden[:, :-1].flatten(0, 1).index_select(0, places)
    at_once = max(1, CHUNK_VALUES // _vocabulary(model))
    losses = torch.zeros(targets.shape, dtype=torch.float32, device=device)
    head = list(model.get_output_embeddings().parameters())
    # Cast up once, where its file has it in 16 bits, and not for each part.
    with held_in_fp32(head) if precision == "fp32" else nullcontext():
        for part, target, place in zip(rows.split(at_once), labels.split(at_once), places.split(at_once), strict=True):
            logits = run_head(model, apart.body, apart.output, part, device, precision)
            losses[place] = F.cross_entropy(logits.float(), target, reduction="none")
    return losses.view(batch.labels.shape[0], batch.labels.shape[1] - 1)


@torch.no_grad()
def _try_apart(model: PreTrainedModel, ids: Tensor, device: torch.device, precision: str) -> Apart | None:
    body = body_of(model)
    if body is None:
        return None
    ids = ids.to(device)
    with few_layers(model), autocast(precision, device):
        output = body_output(model, body, ids, None)
        whole = model(input_ids=ids, use_cache=False).logits[0]
    hidden = hidden_of(output)
    if hidden is None or not isinstance(output, ModelOutput):
        return None
    if not torch.equal(run_head(model, body, output, hidden[0], device, precision), whole):
        return None
    # A head that looks at other positions would see others in a chunk; fewer rows alone are rounded otherwise.
    half = len(whole) // 2
    parts = [run_head(model, body, output, part, device, precision) for part in (hidden[0, :half], hidden[0, half:])]
    differs = (torch.cat(parts).float() - whole.float()).abs().max()
    return Apart(body, output) if differs <= ROUNDING[precision] * whole.float().abs().max() else None


def _vocabulary(model: PreTrainedModel) -> int:
    vocabulary: int = model.config.get_text_config().vocab_size
    return vocabulary
