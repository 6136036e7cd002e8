"""Samples of random windows, and what every signal test runs on."""

from __future__ import annotations

import torch

from frostline.signals.sample import Sample
from tests.builders.batches import random_batch

CPU = torch.device("cpu")
SIX_FAMILIES = ("llama", "gpt2", "gpt_neox", "bloom", "phi3", "mixtral")
"""Plain, fused in columns, fused and side by side, fused by head, fused with gate and up, experts."""


def random_sample(windows: int = 5, *, length: int = 12, seed: int = 0) -> Sample:
    """`windows` windows of random tokens."""
    return Sample(tuple(random_batch(index, rows=1, length=length, seed=seed) for index in range(windows)))
