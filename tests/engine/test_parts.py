"""Do the parts of a step hold each window once, at little padding, and come to the same loss and gradients?"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frostline.corpus import Batch
from frostline.engine.parts import PART_TOKENS, largest_part, split_batch
from tests.builders.batches import random_batch, uneven_batch
from tests.builders.engines import make_pair
from tests.builders.models import tiny_model

PADDING = 0.1


def cheapest(widths: list[int], size: int, part_tokens: int) -> int:
    """Fewest tokens of any cut of `widths`, which fall, into parts of at most `size`: every cut is tried."""
    best = 1 << 40
    for cut in range(1 << (len(widths) - 1)):
        borders = [0, *(place + 1 for place in range(len(widths) - 1) if cut >> place & 1), len(widths)]
        parts = list(pairwise(borders))
        if max(end - begin for begin, end in parts) <= size:
            best = min(best, sum(widths[begin] * (end - begin) + part_tokens for begin, end in parts))
    return best


@given(st.lists(st.integers(1, 90), min_size=8, max_size=8), st.sampled_from([1, 2, 4]))
def test_each_window_is_in_one_part_and_no_cut_is_cheaper(lengths: list[int], passes: int) -> None:
    batch = uneven_batch(lengths)
    parts = split_batch(batch, passes)
    assert sorted(window for part in parts for window in part.window_ids) == list(range(8))
    assert max(len(part.input_ids) for part in parts) <= 8 // passes
    if batch.widths is not None:
        widths = sorted(batch.widths, reverse=True)
        spent = sum(part.input_ids.size + PART_TOKENS["cpu"] for part in parts)
        assert spent == cheapest(widths, 8 // passes, PART_TOKENS["cpu"])
    assert largest_part(batch, passes).input_ids.size == max(part.input_ids.size for part in parts)


@pytest.mark.parametrize("passes", [1, 2, 4])
def test_windows_of_one_width_are_cut_in_order_into_the_passes(passes: int) -> None:
    for batch in (random_batch(0), uneven_batch([13, 14, 15, 12])):
        parts = split_batch(batch, passes)
        assert [part.window_ids for part in parts] == [
            batch.window_ids[start : start + 4 // passes] for start in range(0, 4, 4 // passes)
        ]


def test_pairs_of_a_hundred_tokens_have_little_padding() -> None:
    draw = np.random.default_rng(0)
    tokens = positions = 0
    for _ in range(100):
        lengths = np.clip(draw.lognormal(np.log(80), 0.6, 8), 8, 512).astype(int).tolist()
        tokens += sum(lengths)
        positions += sum(part.input_ids.size for part in split_batch(uneven_batch(lengths, longest=512), 1))
    assert 1 - tokens / positions < PADDING


def whole(batch: Batch) -> Batch:
    """The same step as one part."""
    return Batch(batch.input_ids, batch.labels, batch.attention_mask, batch.window_ids, batch.windows_sha256)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_step_in_parts_has_the_loss_and_gradients_of_the_whole_step(family: str) -> None:
    base = tiny_model(family)
    batch = uneven_batch([40, 3, 38, 17, 4, 22], vocabulary=97)
    assert len(split_batch(batch, 1)) > 1
    outcomes = []
    for own in (batch, whole(batch)):
        for arm in make_pair(base, "train: [all@2:]"):
            outcomes.append((arm.take_step(own, 0), {n: p.detach() for n, p in arm.model.named_parameters()}))
    first, weights = outcomes[0]
    assert first.tokens < batch.input_ids.size
    for outcome, others in outcomes[1:]:
        assert outcome.predictions == first.predictions
        assert outcome.loss_nats == pytest.approx(first.loss_nats, rel=1e-5)
        assert outcome.gradient_norm == pytest.approx(first.gradient_norm, rel=1e-4)
        for name, weight in weights.items():
            torch.testing.assert_close(others[name], weight, rtol=1e-3, atol=1e-4)
