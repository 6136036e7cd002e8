"""Does a continuation's record hold what the single measures say?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from frostline.measures import ContinuationMeasures, continuation_losses, describe_continuations
from frostline.run_folder import Continuation
from tests.builders.models import VOCABULARY, tiny_model

CPU = torch.device("cpu")
PROMPTS = np.array([[3, 4], [5, 6], [7, 8]])
CONTINUATIONS = [[10, 11, 10, 11, 10], [], [10, 11, 12]]


def describe(continuations: Sequence[Sequence[int]]) -> list[ContinuationMeasures]:
    words = {f"w{token}": token for token in range(VOCABULARY)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, unk_token="w0")))
    return describe_continuations(
        PROMPTS,
        continuations,
        tokenizer=tokenizer,
        common_tokens=np.array([10, 50]),
        copied_ngrams=lambda texts: [(max(0, len(tokens) - 2), len(tokens) // 4) for tokens in texts],
        untouched_model=tiny_model("llama", layers=2),
        device=CPU,
        precision="fp32",
    )


def test_each_record_holds_its_own_prompt_text_and_measures() -> None:
    first, _, last = describe(CONTINUATIONS)
    losses = continuation_losses(tiny_model("llama", layers=2), PROMPTS, CONTINUATIONS, device=CPU, precision="fp32")
    assert (first.prompt_index, first.prompt, first.text) == (0, "w3 w4", "w10 w11 w10 w11 w10")
    assert (first.tokens, first.common_tokens, first.ngrams, first.copied_ngrams) == (5, 3, 3, 1)
    assert (first.distinct_1, first.distinct_2, first.distinct_3, first.repetition) == (2 / 5, 2 / 4, 2 / 3, 0)
    assert (first.untouched_loss_nats, last.untouched_loss_nats) == (losses[0], losses[2])
    assert (last.prompt_index, last.tokens, last.common_tokens) == (2, 3, 1)
    # Against the first text: 10 and 11 of three, (10, 11) of two, nothing of one; 3 tokens to 5.
    assert last.self_bleu == pytest.approx((2 / 3 * 1 / 2 * 0.1) ** (1 / 3) * math.exp(1 - 5 / 3))


def test_an_empty_continuation_is_described_without_numbers_that_mean_nothing() -> None:
    empty = describe(CONTINUATIONS)[1]
    assert (empty.text, empty.tokens, empty.common_tokens, empty.ngrams) == ("", 0, 0, 0)
    numbers = (empty.untouched_loss_nats, empty.distinct_1, empty.repetition, empty.self_bleu)
    assert all(math.isnan(number) for number in numbers)


def test_the_fields_are_those_of_the_journal_record_without_whose_it_is() -> None:
    journal = [(field.name, field.type) for field in fields(Continuation)]
    assert [(field.name, field.type) for field in fields(ContinuationMeasures)] == journal[3:-1]
    assert journal[-1][0] == "draw"
    assert [name for name, _ in journal[:3]] == ["variant", "seed", "arm"]
