"""How likely is a generated text under the untouched model? Its loss there; the perplexity is exp of it.

Text that the untouched model finds improbable has moved away from general language; text that it finds far too
probable is usually a loop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from frostline.corpus import NOT_COUNTED, Batch
from frostline.measures.forward import untouched_forward
from frostline.measures.head import few_windows, token_losses


def continuation_losses(
    model: PreTrainedModel,
    prompts: NDArray[np.int64],
    continuations: Sequence[Sequence[int]],
    *,
    device: torch.device,
    precision: str,
    batch: int = 8,
) -> list[float]:
    """Mean loss in nats of each continuation's tokens, given its prompt (a row of `prompts` [prompts, prompt_tokens]).

    NaN for an empty continuation. Rows are padded on the right to the longest of a batch, and the padding is masked.
    """
    losses = [math.nan] * len(continuations)
    filled = [index for index, continuation in enumerate(continuations) if continuation]
    with untouched_forward(model, device, precision):
        for start in range(0, len(filled), batch):
            chosen = filled[start : start + batch]
            padded = _padded(prompts[chosen], [continuations[index] for index in chosen])
            sums: list[float] = []
            for part in few_windows(padded):
                found = token_losses(model, part, device=device, precision=precision)
                sums += found.sum(dim=1, dtype=torch.float64).tolist()
            for index, total in zip(chosen, sums, strict=True):
                losses[index] = total / len(continuations[index])
    return losses


def _padded(prompts: NDArray[np.int64], continuations: Sequence[Sequence[int]]) -> Batch:
    """Prompts with their continuations, as wide as the longest; only the continuations' tokens count."""
    rows, prompt_tokens = prompts.shape
    shape = (rows, prompt_tokens + max(len(continuation) for continuation in continuations))
    input_ids = np.zeros(shape, dtype=np.int64)
    labels = np.full(shape, NOT_COUNTED, dtype=np.int64)
    mask = np.zeros(shape, dtype=np.int64)
    input_ids[:, :prompt_tokens] = prompts
    for row, continuation in enumerate(continuations):
        end = prompt_tokens + len(continuation)
        input_ids[row, prompt_tokens:end] = labels[row, prompt_tokens:end] = continuation
        mask[row, :end] = 1
    return Batch(input_ids, labels, mask, tuple(range(rows)), "")
