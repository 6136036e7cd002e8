"""How does a measure run the model without leaving a trace? In evaluation mode, without gradients, mode restored.

Training goes on afterwards as if nothing had happened: dropout is where it was, and no random number was drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from frostline.corpus import NOT_COUNTED
from frostline.engine import autocast
from frostline.plans import keep_weights_still

CHUNK_VALUES = 1 << 24
"""Logits turned to float32 at once: 64 MiB of them."""


@contextmanager
def untouched_forward(model: nn.Module, device: torch.device, precision: str) -> Iterator[None]:
    """Evaluation mode and inference mode, with bf16 arithmetic where `precision` is `bf16`.

    Every module gets its own mode back afterwards, also one that stood in another mode than the model.
    """
    keep_weights_still(model)
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.inference_mode(), autocast(precision, device):
            yield
    finally:
        for module in training:
            module.training = True


def next_token_losses(
    logits: Float[Tensor, "batch sequence vocabulary"], labels: Int[Tensor, "batch sequence"]
) -> Float[Tensor, "batch sequence-1"]:
    """-log P of each next token in nats, in float32: position i predicts label i + 1. 0 where the label is ignored.

    Logits become float32 a few positions at a time, so that a large vocabulary is not held twice.
    """
    vocabulary = logits.shape[-1]
    positions = logits[:, :-1].reshape(-1, vocabulary)
    targets = labels[:, 1:].reshape(-1)
    rows = max(1, CHUNK_VALUES // vocabulary)
    losses = [
        F.cross_entropy(part.float(), target, ignore_index=NOT_COUNTED, reduction="none")
        for part, target in zip(positions.split(rows), targets.split(rows), strict=True)
    ]
    return torch.cat(losses).view(labels.shape[0], labels.shape[1] - 1)
