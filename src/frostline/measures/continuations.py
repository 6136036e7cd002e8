"""What is each generated text like? Every measure of a continuation in one record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from frostline.measures.perplexity import continuation_losses
from frostline.measures.quality import distinct, repetition, self_bleu
from frostline.measures.tokens import count_common


@dataclass(frozen=True)
class ContinuationMeasures:
    """One continuation as the journal keeps it, without saying whose it is. NaN where a number has no meaning."""

    prompt_index: int
    prompt: str
    text: str
    tokens: int
    common_tokens: int
    """Tokens of the continuation that are in S."""
    untouched_loss_nats: float
    """Mean loss of the continuation under the untouched model, given the prompt."""
    ngrams: int
    """Windows of 8 tokens in the continuation."""
    copied_ngrams: int
    """N-grams that stand verbatim in the training text."""
    distinct_1: float
    distinct_2: float
    distinct_3: float
    repetition: float
    self_bleu: float
    """BLEU of this continuation against the others."""


def describe_continuations(
    prompts: NDArray[np.int64],
    continuations: Sequence[Sequence[int]],
    *,
    tokenizer: PreTrainedTokenizerBase,
    common_tokens: NDArray[np.int64],
    copied_ngrams: Callable[[Sequence[int]], tuple[int, int]],
    untouched_model: PreTrainedModel,
    device: torch.device,
    precision: str,
) -> list[ContinuationMeasures]:
    """Measures of each of `continuations`, one for each row of `prompts` [prompts, prompt_tokens].

    `copied_ngrams` returns how many 8-grams there are and how many of them the training text holds; `Corpus` has it.
    """
    losses = continuation_losses(untouched_model, prompts, continuations, device=device, precision=precision)
    overlaps = self_bleu(continuations)
    common = frozenset(common_tokens.tolist())
    measured = []
    for index, tokens in enumerate(continuations):
        ngrams, copied = copied_ngrams(tokens)
        measured.append(
            ContinuationMeasures(
                prompt_index=index,
                prompt=_text(tokenizer, prompts[index].tolist()),
                text=_text(tokenizer, tokens),
                tokens=len(tokens),
                common_tokens=count_common(tokens, common),
                untouched_loss_nats=losses[index],
                ngrams=ngrams,
                copied_ngrams=copied,
                distinct_1=distinct(tokens, 1),
                distinct_2=distinct(tokens, 2),
                distinct_3=distinct(tokens, 3),
                repetition=repetition(tokens),
                self_bleu=overlaps[index],
            )
        )
    return measured


def _text(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    text = tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)
    return text
