"""What does the memory of a run depend on? Known before weights are loaded, but for what is chosen then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from frostline.plans import ResolvedPlan
from frostline.recipe import Recipe


@dataclass(frozen=True)
class MemoryFacts:
    """One variant, as far as its bytes go."""

    recipe: Recipe
    model: PreTrainedModel
    """The untouched model; sizes and types of its parameters are what counts, so that it may be without memory."""
    arms: Mapping[str, ResolvedPlan]
    device: torch.device
    precision: str
    schedule: str
    fills_rows: bool
    """Whether rows are filled layer by layer before training, so that the layers below are gone in the steps."""
    held_out_windows: int
    judge: PreTrainedModel | None = None
    """What judges the generated text."""


def vocabulary_of(model: PreTrainedModel) -> int:
    """Number of logits of a token."""
    rows: int = model.get_output_embeddings().weight.shape[0]
    return rows
