"""Does a stored row of a pair depend on the pair alone, and does a step come to the same with it?"""

from __future__ import annotations

import dataclasses

import pytest
import torch

from frostline.engine import window_key
from tests.builders.batches import uneven_batch
from tests.builders.engines import fast_part, make_pair, memory_store
from tests.builders.models import tiny_model

LENGTHS = [40, 3, 38, 16, 4, 22]


@pytest.mark.parametrize("masked", [True, False])
def test_a_row_is_the_same_bits_beside_whichever_windows(masked: bool) -> None:
    batch = uneven_batch(LENGTHS)
    if not masked:
        batch = dataclasses.replace(batch, attention_mask=None)
    _, fast = make_pair(tiny_model("llama"), "train: [all@2:]")
    prefix = fast_part(fast).prefix
    together = prefix.rows(batch, 2)
    prefix.store.keep_only([])
    for row, length in enumerate(LENGTHS):
        alone = prefix.rows(batch.of_rows([row]), 2)[0]
        assert torch.equal(together[row, : len(alone)], alone)
        assert len(alone) == -(-length // 8) * 8
        assert not together[row, len(alone) :].any()


def test_a_row_is_found_again_in_a_batch_of_another_width() -> None:
    batch, store = uneven_batch(LENGTHS), memory_store()
    _, fast = make_pair(tiny_model("llama"), "train: [all@2:]", store=store)
    prefix = fast_part(fast).prefix
    prefix.rows(batch.of_rows([1, 4]), 2)
    prefix.rows(batch, 2)
    assert (prefix.counts.computed, prefix.counts.found) == (len(LENGTHS), 2)
    assert store.find(window_key(*batch.at_own_width(1)), 2) is not None


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "gpt_neox", "mistral"])
@pytest.mark.parametrize("masked", [True, False])
def test_uneven_windows_train_alike_with_and_without_stored_rows(family: str, masked: bool) -> None:
    batch = uneven_batch(LENGTHS)
    if not masked:
        batch = dataclasses.replace(batch, attention_mask=None)
    plain, fast = make_pair(tiny_model(family), "train: [all@2:]")
    assert fast_part(fast).prefix_trial is not None
    for step in range(3):
        expected, outcome = plain.take_step(batch, step), fast.take_step(batch, step)
        assert outcome.loss_nats == pytest.approx(expected.loss_nats, rel=1e-5)
        assert outcome.gradient_norm == pytest.approx(expected.gradient_norm, rel=1e-4)
