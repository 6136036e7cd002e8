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
    """`WINDOWS` windows of up to `length` tokens, `LONGEST_WINDOW` at most, sampled at temperature 1.

    Each begins with a token drawn evenly from the vocabulary and goes on over ends of text. Same model, same text.
    """
    tokens = min(length, LONGEST_WINDOW)
    vocabulary = model.config.get_text_config().vocab_size
    first = below(0, "first token of general text", 0, vocabulary, WINDOWS)[:, None]
    settings = SamplingSettings(prompts=WINDOWS, new_tokens=tokens - 1)
    written = sample_continuations(model, first, settings, 0, (), device=device, precision=precision)
    windows = [
        np.array([[start, *rest]], dtype=np.int64) for start, rest in zip(first[:, 0].tolist(), written, strict=True)
    ]
    return Sample(
        tuple(
            Batch(window, window.copy(), None, (index,), hashlib.sha256(window.tobytes()).hexdigest())
            for index, window in enumerate(windows)
        )
    )
