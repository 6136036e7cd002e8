"""What is general text to a model? What it writes itself, from a token drawn at random: no other corpus is needed."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from transformers import PreTrainedModel

from frostline.corpus import Batch, below
from frostline.measures import sample_continuations
from frostline.recipe import SamplingSettings
from frostline.signals.sample import Sample

WINDOWS = 8
LONGEST_WINDOW = 64


def write_general_text(model: PreTrainedModel, length: int, *, device: torch.device, precision: str) -> Sample:
    """`WINDOWS` windows of up to `length` tokens, `LONGEST_WINDOW` at most; see `own_text`."""
    written = own_text(model, min(length, LONGEST_WINDOW), WINDOWS, device=device, precision=precision)
    windows = [np.array([tokens], dtype=np.int64) for tokens in written]
    return Sample(
        tuple(
            Batch(window, window.copy(), None, (index,), hashlib.sha256(window.tobytes()).hexdigest())
            for index, window in enumerate(windows)
        )
    )


def own_text(
    model: PreTrainedModel,
    length: int,
    windows: int,
    *,
    device: torch.device,
    precision: str,
    beginning: tuple[int, ...] = (),
    by_cache: bool | None = None,
) -> tuple[tuple[int, ...], ...]:
    """`windows` texts of `length` tokens that `model` writes at temperature 1, `beginning` included.

    Each goes on from a token drawn evenly from the vocabulary, over ends of text. Same model, same text. `by_cache` as
    `sample_continuations` has it.
    """
    vocabulary = model.config.get_text_config().vocab_size
    first = below(0, "first token of general text", 0, vocabulary, windows)[:, None]
    before = np.broadcast_to(np.array(beginning, dtype=np.int64), (windows, len(beginning)))
    prompts = np.concatenate((before, first), axis=1)
    if length <= prompts.shape[1]:
        return tuple(tuple(row[:length]) for row in prompts.tolist())
    settings = SamplingSettings(prompts=windows, new_tokens=length - prompts.shape[1])
    written = sample_continuations(
        model, prompts, settings, 0, (), device=device, precision=precision, by_cache=by_cache
    )
    return tuple((*prompt, *rest) for prompt, rest in zip(prompts.tolist(), written, strict=True))
