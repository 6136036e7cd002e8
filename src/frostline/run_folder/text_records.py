"""What was written? Texts that the arms sampled, and how the held-out text itself goes on, measured alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

from frostline.run_folder.arm_place import ArmRecord


@dataclass(frozen=True)
class TextMeasures:
    """What a text that goes on from a prompt is like, whoever wrote it. NaN where a number has no meaning."""

    prompt_index: int
    prompt: str
    text: str
    tokens: int
    common_tokens: int
    """Tokens of the text that are in S."""
    untouched_loss_nats: float
    """Mean loss of the text under the untouched model, given the prompt (its perplexity is exp of this)."""
    ngrams: int
    """Windows of 8 tokens in the text."""
    copied_ngrams: int
    """N-grams that stand verbatim in the training text."""
    distinct_1: float
    distinct_2: float
    distinct_3: float
    repetition: float
    self_bleu: float
    """BLEU of this text against the others of the same arm, replicate and draw."""


# The fields of the second base come first: dataclasses collect them from the last base to the first.
@dataclass(frozen=True)
class Continuation(TextMeasures, ArmRecord):
    """One sampled continuation; `arm` is '' for the untouched model before training."""

    measured_tokens: int = 0
    """Tokens over which distinct-n, repetition and self-BLEU are taken: no more than the held-out text goes on for; 0
    in journals of 0.1.0, which took all."""
    judge_loss_nats: float = math.nan
    """Loss of the whole text, given the prompt, under the judge that the recipe names; NaN without one."""
    draw: int = 0
    """Which of the model's texts to this prompt it is, counted from 0."""


@dataclass(frozen=True)
class TrueContinuation(TextMeasures, ArmRecord):
    """How the held-out text itself goes on after a prompt: `arm` is always '', as no arm wrote it.

    It has as many tokens as were sampled, or fewer where the held-out window ends, or the model would have ended.
    """

    judge_loss_nats: float = math.nan
