"""What is each generated text like? Every measure of a continuation in one record."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from frostline.measures.judge import Judge, judge_losses
from frostline.measures.perplexity import continuation_losses
from frostline.measures.quality import distinct, repetition, self_bleu
from frostline.measures.tokens import count_common
from frostline.run_folder import TextMeasures


@dataclass(frozen=True)
class ContinuationMeasures(TextMeasures):
    """One continuation as the journal keeps it, without saying whose it is. NaN where a number has no meaning."""

    measured_tokens: int
    """Tokens over which distinct-n, repetition and self-BLEU are taken."""
    judge_loss_nats: float
    """Loss of the whole text, given the prompt, under a model that is neither; NaN where none judges."""


def describe_continuations(
    prompts: NDArray[np.int64],
    continuations: Sequence[Sequence[int]],
    *,
    tokenizer: PreTrainedTokenizerBase,
    common_tokens: NDArray[np.int64],
    copied_ngrams: Callable[[Sequence[Sequence[int]]], list[tuple[int, int]]],
    untouched_model: PreTrainedModel,
    device: torch.device,
    precision: str,
    judge: Judge | None = None,
    lengths: Sequence[int] | None = None,
) -> list[ContinuationMeasures]:
    """Measures of each of `continuations`, one for each row of `prompts` [prompts, prompt_tokens].

    `copied_ngrams` returns how many 8-grams each text has and how many of them the training text holds; `Corpus` has
    it.
    Measures that depend on a text's length are taken over the first `lengths` tokens of each, or all.
    """
    losses = continuation_losses(untouched_model, prompts, continuations, device=device, precision=precision)
    starts = [tokens[:most] for tokens, most in zip(continuations, lengths or map(len, continuations), strict=True)]
    overlaps = self_bleu(starts)
    common = frozenset(common_tokens.tolist())
    texts = [_text(tokenizer, tokens) for tokens in continuations]
    judged = [math.nan] * len(texts)
    if judge is not None:
        given = [_text(tokenizer, prompt, plain=True) for prompt in prompts.tolist()]
        plain = [_text(tokenizer, tokens, plain=True) for tokens in continuations]
        judged = judge_losses(judge, given, plain, device=device, precision=precision)
    measured = []
    counted = copied_ngrams(continuations)
    for index, (tokens, start, (ngrams, copied)) in enumerate(zip(continuations, starts, counted, strict=True)):
        measured.append(
            ContinuationMeasures(
                prompt_index=index,
                prompt=_text(tokenizer, prompts[index].tolist()),
                text=texts[index],
                tokens=len(tokens),
                common_tokens=count_common(tokens, common),
                untouched_loss_nats=losses[index],
                ngrams=ngrams,
                copied_ngrams=copied,
                distinct_1=distinct(start, 1),
                distinct_2=distinct(start, 2),
                distinct_3=distinct(start, 3),
                repetition=repetition(start),
                self_bleu=overlaps[index],
                measured_tokens=len(start),
                judge_loss_nats=judged[index],
            )
        )
    return measured


def _text(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int], *, plain: bool = False) -> str:
    """`plain` leaves out special tokens, which other tokenizers would read as letters."""
    text = tokenizer.decode(list(tokens), skip_special_tokens=plain, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)
    return text
