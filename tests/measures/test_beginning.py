"""Is the loss of a model that expects a beginning the one that transformers gives it?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedModel

from frostline.corpus import Corpus
from frostline.measures import evaluate_loss
from frostline.plans import Plan
from frostline.recipe import TrainingSettings
from tests.builders.corpora import open_small, some_ids, write_words
from tests.builders.engines import CPU, fast_part, make_fast_arm, make_plain_arm
from tests.builders.models import tiny_model
from tests.builders.tokenizers import USER, WORDS, word_tokenizer, words


def gemma_like() -> PreTrainedModel:
    return tiny_model("gemma2", vocab_size=WORDS + 4, bos_token_id=WORDS + 1)


def corpus_with_beginning(folder: Path) -> tuple[Corpus, list[int]]:
    tokenizer = word_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{USER} $A", special_tokens=[(USER, WORDS + 1)]
    )
    ids = some_ids(300)
    path = write_words(folder / "text.txt", ids)
    return open_small(path, folder / "cache", length=16, held_out=4, tokenizer=tokenizer), ids


def test_the_untouched_loss_is_that_of_transformers_for_the_same_text(tmp_path: Path) -> None:
    corpus, ids = corpus_with_beginning(tmp_path)
    model = gemma_like()
    tokenizer = word_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{USER} $A", special_tokens=[(USER, WORDS + 1)]
    )
    starts = [start for batch in corpus.held_out_batches(3) for start in batch.window_ids]
    encoded = tokenizer([words(ids[start : start + 15]) for start in starts], return_tensors="pt")
    with torch.no_grad():
        expected = float(model(input_ids=encoded["input_ids"], labels=encoded["input_ids"]).loss)
    found = evaluate_loss(model, corpus.held_out_batches(3), device=CPU, precision="fp32")
    assert found.loss_nats == pytest.approx(expected, abs=1e-5)
    assert found.predictions == 4 * 15


def test_the_fast_engine_learns_what_the_plain_loop_learns(tmp_path: Path) -> None:
    corpus, _ = corpus_with_beginning(tmp_path)
    settings = TrainingSettings(steps=3, precision="fp32", gradient_clipping=None)
    plan = Plan.parse("train: [attn.qkv@50%:]")
    plain = make_plain_arm(gemma_like(), plan, settings)
    fast = make_fast_arm(gemma_like(), plan, settings)
    for step in range(3):
        batch = corpus.batch(0, 0, 4)  # the same again: stored prefixes are read
        wanted, found = plain.take_step(batch, step), fast.take_step(batch, step)
        assert found.loss_nats == pytest.approx(wanted.loss_nats, rel=1e-5)
        assert found.predictions == wanted.predictions == 4 * 15
    assert fast_part(fast) is not None
