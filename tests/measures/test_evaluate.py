"""Is the loss that of every counted token, whatever the padding, and does measuring it leave no trace?"""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from frostline.corpus import FREQUENCY_CLASSES, NOT_COUNTED, Batch
from frostline.measures import LossMeasure, evaluate_loss
from frostline.measures.forward import next_token_losses
from tests.builders.models import FAMILIES, VOCABULARY, tiny_model

CPU = torch.device("cpu")


def make_batch(lengths: list[int], *, seed: int = 0, masked_head: int = 0) -> Batch:
    """Rows of random tokens padded on the right; the first `masked_head` labels of each do not count."""
    generator = np.random.default_rng(seed)
    shape = (len(lengths), max(lengths))
    input_ids = np.zeros(shape, dtype=np.int64)
    labels = np.full(shape, NOT_COUNTED, dtype=np.int64)
    mask = np.zeros(shape, dtype=np.int64)
    for row, length in enumerate(lengths):
        input_ids[row, :length] = generator.integers(3, VOCABULARY, length)
        labels[row, masked_head:length] = input_ids[row, masked_head:length]
        mask[row, :length] = 1
    padded = min(lengths) < max(lengths)
    return Batch(input_ids, labels, mask if padded else None, tuple(range(len(lengths))), "")


def measure(model: PreTrainedModel, *batches: Batch, precision: str = "fp32") -> LossMeasure:
    return evaluate_loss(model, batches, device=CPU, precision=precision)


def token_by_token(model: PreTrainedModel, batch: Batch) -> list[float]:
    """-log P of each counted token, each row alone, without padding, computed in numpy from the logits."""
    found = []
    lengths = [batch.input_ids.shape[1]] * len(batch.input_ids)
    if batch.attention_mask is not None:
        lengths = batch.attention_mask.sum(axis=1).tolist()
    for row, length in enumerate(lengths):
        ids = torch.from_numpy(batch.input_ids[row : row + 1, :length])
        with torch.no_grad():
            logits: NDArray[np.float64] = model(input_ids=ids).logits[0].double().numpy()
        for place in range(length - 1):
            label = int(batch.labels[row, place + 1])
            if label != NOT_COUNTED:
                scores = logits[place]
                top = scores.max()
                found.append(float(top + np.log(np.exp(scores - top).sum()) - scores[label]))
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_equals_a_loop_over_single_tokens_without_padding(family: str) -> None:
    model = tiny_model(family, layers=2)
    batches = [make_batch([12, 5, 9], masked_head=2), make_batch([7], seed=1)]
    expected = [loss for batch in batches for loss in token_by_token(model, batch)]
    measured = measure(model, *batches)
    assert measured.predictions == len(expected) == (10 + 3 + 7) + 6
    assert measured.loss_nats == pytest.approx(np.mean(expected), rel=1e-5)


def test_sums_by_class_are_those_of_its_tokens_in_each_window_and_other_numbers_stay_as_they_are() -> None:
    model = tiny_model("llama", layers=2)
    batches = [make_batch([12, 5, 9], masked_head=2), make_batch([7], seed=1)]
    classes = np.arange(VOCABULARY) % 3
    plain = measure(model, *batches)
    found = evaluate_loss(model, batches, device=CPU, precision="fp32", classes=classes)
    sums, counts = np.zeros((4, len(FREQUENCY_CLASSES))), np.zeros((4, len(FREQUENCY_CLASSES)), dtype=int)
    for window, (batch, row) in enumerate([(batches[0], 0), (batches[0], 1), (batches[0], 2), (batches[1], 0)]):
        labels = [int(label) for label in batch.labels[row, 1:] if label != NOT_COUNTED]
        alone = Batch(batch.input_ids[[row]], batch.labels[[row]], None, (0,), "")
        if batch.attention_mask is not None:
            alone = replace(alone, attention_mask=batch.attention_mask[[row]])
        for label, loss in zip(labels, token_by_token(model, alone), strict=True):
            sums[window, classes[label]] += loss
            counts[window, classes[label]] += 1
    assert np.array(found.class_loss_sums) == pytest.approx(sums, rel=1e-4)
    assert found.class_predictions == counts.tolist()
    assert replace(found, class_loss_sums=[], class_predictions=[]) == plain


def test_the_loss_equals_that_of_transformers_where_nothing_is_padded() -> None:
    model = tiny_model("llama")
    batch = make_batch([16, 16, 16])
    ids = torch.from_numpy(batch.input_ids)
    with torch.no_grad():
        expected = model(input_ids=ids, labels=ids).loss.item()
    assert measure(model, batch).loss_nats == pytest.approx(expected, rel=1e-6)


def test_a_long_and_a_short_batch_weigh_by_their_tokens_and_not_alike() -> None:
    model = tiny_model("gpt2")
    long, short = make_batch([30, 30]), make_batch([3], seed=1)
    first, second = measure(model, long), measure(model, short)
    expected = (first.loss_nats * 58 + second.loss_nats * 2) / 60
    assert measure(model, long, short).loss_nats == pytest.approx(expected, rel=1e-12)
    assert measure(model, long, short).loss_nats != pytest.approx((first.loss_nats + second.loss_nats) / 2, rel=1e-4)


def test_the_loss_does_not_depend_on_how_many_positions_are_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(3, 11, 20, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 20, (3, 11), generator=torch.Generator().manual_seed(1))
    labels[1, 4:] = NOT_COUNTED
    whole = next_token_losses(logits, labels)
    monkeypatch.setattr("frostline.measures.forward.CHUNK_VALUES", 7 * 20)
    assert torch.equal(next_token_losses(logits, labels), whole)
    assert whole[1, 3:].eq(0).all()


def test_no_counted_token_gives_not_a_number() -> None:
    batch = make_batch([6], masked_head=6)
    measured = measure(tiny_model("llama", layers=1), batch)
    assert math.isnan(measured.loss_nats)
    assert measured.predictions == 0


def test_bf16_computes_the_blocks_in_bf16_and_the_loss_in_float32() -> None:
    model = tiny_model("llama")
    batch = make_batch([16, 16])
    ids = torch.from_numpy(batch.input_ids)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(input_ids=ids).logits
    expected = torch.nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten()).item()
    measured = measure(model, batch, precision="bf16").loss_nats
    assert measured == pytest.approx(expected, rel=1e-6)
    assert measured != measure(model, batch).loss_nats


def test_dropout_is_off_while_measuring_and_every_module_gets_its_own_mode_back() -> None:
    model = tiny_model("gpt2", resid_pdrop=0.5)
    batch = make_batch([20, 20])
    expected = measure(model, batch)
    model.train()
    quiet = next(module for module in model.modules() if isinstance(module, torch.nn.Dropout))
    quiet.training = False
    modes = [module.training for module in model.modules()]
    assert measure(model, batch) == expected
    assert [module.training for module in model.modules()] == modes


def test_the_mode_comes_back_also_after_an_error() -> None:
    model = tiny_model("llama", layers=1).train()
    broken = Batch(np.full((1, 4), VOCABULARY + 5), np.full((1, 4), 1), None, (0,), "")
    with pytest.raises(IndexError):
        measure(model, broken)
    assert model.training


@pytest.mark.parametrize("family", FAMILIES)
def test_training_after_an_evaluation_goes_as_if_there_had_been_none(family: str) -> None:
    model = tiny_model(family, layers=2)
    twin = copy.deepcopy(model)
    batch = make_batch([14, 14])
    state = torch.get_rng_state()
    measure(model, batch)
    assert torch.equal(torch.get_rng_state(), state)
    ids = torch.from_numpy(batch.input_ids)
    for trained in (model, twin):
        trained.train()
        trained(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    for (name, parameter), (_, other) in zip(model.named_parameters(), twin.named_parameters(), strict=True):
        assert (parameter.grad is None) == (other.grad is None), name
        assert parameter.grad is None or (other.grad is not None and torch.equal(parameter.grad, other.grad)), name


def test_the_loss_of_each_window_is_that_of_the_window_alone_in_the_order_of_the_windows() -> None:
    model = tiny_model("llama")
    batches = [make_batch([12, 5, 9], masked_head=2), make_batch([7], seed=1)]
    measured = measure(model, *batches)
    rows = [(batch, row) for batch in batches for row in range(len(batch.input_ids))]
    expected = []
    for batch, row in rows:
        mask = None if batch.attention_mask is None else batch.attention_mask[row : row + 1]
        alone = Batch(batch.input_ids[row : row + 1], batch.labels[row : row + 1], mask, (row,), "")
        expected.append(np.mean(token_by_token(model, alone)))
    assert measured.window_losses == pytest.approx(expected, rel=1e-5)
    assert measured.window_predictions == [10, 3, 7, 6]
    total = np.dot(measured.window_losses, measured.window_predictions)
    assert measured.loss_nats == pytest.approx(total / 26, rel=1e-12)


def test_a_window_that_counts_nothing_has_no_loss_and_no_weight() -> None:
    measured = measure(tiny_model("gpt2"), make_batch([6, 6], masked_head=6), make_batch([6]))
    assert [math.isnan(loss) for loss in measured.window_losses] == [True, True, False]
    assert measured.window_predictions == [0, 0, 5]
    assert measured.loss_nats == pytest.approx(measured.window_losses[2])
