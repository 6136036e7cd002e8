"""What is the loss on given windows? The mean over every counted token, whatever the lengths and the padding.

A mean of batch means would weigh the tokens of a short batch more, and make arms incomparable.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from frostline.corpus import FREQUENCY_CLASSES, NOT_COUNTED, Batch
from frostline.engine import ALONE, Beginning, Together, World
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


@dataclass(frozen=True)
class _Pass:
    """What one forward pass has measured: sums, and values of its windows in order."""

    total: float
    window_losses: list[float]
    window_predictions: list[int]
    class_loss_sums: list[list[float]]
    class_predictions: list[list[int]]


def evaluate_loss(
    model: PreTrainedModel,
    batches: Iterable[Batch],
    *,
    device: torch.device,
    precision: str,
    classes: NDArray[np.int64] | None = None,
    beginning: Beginning | None = None,
    world: World = ALONE,
) -> LossMeasure:
    """L = -(1/N) sum log P(y_i given x_i) over the N counted next tokens of `batches`, in nats per token.

    `precision` is `fp32` or `bf16`. `classes` gives the place of each token in `FREQUENCY_CLASSES`, [vocabulary], where
    sums are wanted by class; `beginning` spares the model its first layers. Processes of `world` that all call this,
    each with a model of the same weights, share the forward passes: the sums are taken in their order, and have the
    same bits. Model mode and global random state are afterwards what they were.
    """
    class_of = None if classes is None else torch.from_numpy(classes).to(device)
    together, own = Together(), list[_Pass]()
    with world.agreeing(together, patient=True) if not world.alone else nullcontext():
        with untouched_forward(model, device, precision):
            parts = (part for given in batches for part in few_windows(given))
            for batch in islice(parts, world.rank, None, world.size):
                losses = token_losses(model, batch, device=device, precision=precision, beginning=beginning)
                own.append(_measured(losses, torch.from_numpy(batch.labels).to(device), class_of))
        together.own = {"passes": [] if world.alone else [asdict(one) for one in own]}
    return _merged(own if world.alone else _in_order([answer["passes"] for answer in together.all]))


def _measured(
    losses: Float[Tensor, "batch positions"], labels: Int[Tensor, "batch sequence"], class_of: Tensor | None
) -> _Pass:
    counted = (labels[:, 1:] != NOT_COUNTED).sum(dim=-1)
    sums, counts = (
        ([], []) if class_of is None else (own.tolist() for own in _by_class(losses, labels[:, 1:], class_of))
    )
    return _Pass(
        losses.sum(dtype=torch.float64).item(),
        (losses.sum(dim=-1, dtype=torch.float64) / counted).tolist(),
        counted.tolist(),
        sums,
        counts,
    )


def _in_order(by_rank: Sequence[object]) -> list[_Pass]:
    """The passes of all processes, of which process r of W has made those with the numbers r, r + W, ..."""
    told = [[_Pass(**values) for values in own] for own in by_rank]  # type: ignore[attr-defined]  # what `asdict` made
    return [own[number] for number in range(len(told[0])) for own in told if number < len(own)]


def _merged(passes: Sequence[_Pass]) -> LossMeasure:
    total = 0.0
    for one in passes:
        total += one.total
    predictions = sum(counted for one in passes for counted in one.window_predictions)
    return LossMeasure(
        total / predictions if predictions else math.nan,
        predictions,
        [loss for one in passes for loss in one.window_losses],
        [counted for one in passes for counted in one.window_predictions],
        [sums for one in passes for sums in one.class_loss_sums],
        [counts for one in passes for counts in one.class_predictions],
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
