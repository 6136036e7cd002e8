"""What is the loss on given windows? The mean over every counted token, whatever the lengths and the padding.

A mean of batch means would weigh the tokens of a short batch more, and make arms incomparable.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from frostline.corpus import FREQUENCY_CLASSES, NOT_COUNTED, Batch
from frostline.engine import Beginning
from frostline.measures.forward import untouched_forward
from frostline.measures.head import few_windows, token_losses

EVALUATION_WINDOWS = 8
"""Windows of one forward pass of an evaluation, where they are short: see `measures.head`."""


@dataclass(frozen=True)
class LossMeasure:
    loss_nats: float
    """Mean over the counted tokens; NaN where there are none."""
    predictions: int
    """Tokens counted."""
    window_losses: list[float]
    """Mean over the counted tokens of each window, in order; NaN where a window counts none."""
    window_predictions: list[int]
    """Tokens counted in each."""
    class_loss_sums: list[list[float]] = field(default_factory=list)
    """[windows, classes] sum over the counted tokens of each class; empty where no classes were asked for."""
    class_predictions: list[list[int]] = field(default_factory=list)
    """[windows, classes] tokens counted in each."""


def evaluate_loss(
    model: PreTrainedModel,
    batches: Iterable[Batch],
    *,
    device: torch.device,
    precision: str,
    classes: NDArray[np.int64] | None = None,
    beginning: Beginning | None = None,
) -> LossMeasure:
    """L = -(1/N) sum log P(y_i given x_i) over the N counted next tokens of `batches`, in nats per token.

    `precision` is `fp32` or `bf16`. `classes` gives the place of each token in `FREQUENCY_CLASSES`, [vocabulary], where
    sums are wanted by class; `beginning` spares the model its first layers. Model mode and global random state are
    afterwards what they were.
    """
    total = 0.0
    window_losses: list[float] = []
    window_predictions: list[int] = []
    class_loss_sums: list[list[float]] = []
    class_predictions: list[list[int]] = []
    class_of = None if classes is None else torch.from_numpy(classes).to(device)
    with untouched_forward(model, device, precision):
        for batch in (part for given in batches for part in few_windows(given)):
            labels = torch.from_numpy(batch.labels).to(device)
            losses = token_losses(model, batch, device=device, precision=precision, beginning=beginning)
            total += losses.sum(dtype=torch.float64).item()
            counted = (labels[:, 1:] != NOT_COUNTED).sum(dim=-1)
            window_losses += (losses.sum(dim=-1, dtype=torch.float64) / counted).tolist()
            window_predictions += counted.tolist()
            if class_of is not None:
                sums, counts = _by_class(losses, labels[:, 1:], class_of)
                class_loss_sums += sums.tolist()
                class_predictions += counts.tolist()
    predictions = sum(window_predictions)
    return LossMeasure(
        total / predictions if predictions else math.nan,
        predictions,
        window_losses,
        window_predictions,
        class_loss_sums,
        class_predictions,
    )


def _by_class(
    losses: Float[Tensor, "batch positions"], labels: Int[Tensor, "batch positions"], class_of: Int[Tensor, " tokens"]
) -> tuple[Float[Tensor, "batch classes"], Int[Tensor, "batch classes"]]:
    """(sum of the losses, number of tokens) of each class in each row.

    One class after another: a scattered sum would differ in its last bits from run to run.
    """
    classes = torch.where(labels != NOT_COUNTED, class_of[labels.clamp(min=0)], NOT_COUNTED)
    inside = [classes == number for number in range(len(FREQUENCY_CLASSES))]
    sums = [torch.where(own, losses, 0.0).sum(dim=-1, dtype=torch.float64) for own in inside]
    return torch.stack(sums, dim=-1), torch.stack([own.sum(dim=-1) for own in inside], dim=-1)


def window_losses(
    model: PreTrainedModel,
    batches: Iterable[Batch],
    *,
    device: torch.device,
    precision: str,
    beginning: Beginning | None = None,
) -> list[float]:
    """The mean loss of each window of `batches`, in nats per token; NaN where a window counts none."""
    return evaluate_loss(model, batches, device=device, precision=precision, beginning=beginning).window_losses
