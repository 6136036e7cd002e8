"""Is the loss the same whether all logits are held or a few, and is the number of tokens at once bounded?"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from frostline.corpus import NOT_COUNTED, Batch
from frostline.measures import evaluate_loss, untouched_forward
from frostline.measures import head as head_module
from frostline.measures.head import few_windows, head_where_logits_are_many, token_losses
from tests.builders.batches import random_batch
from tests.builders.models import FAMILIES, VOCABULARY, tiny_model

CPU = torch.device("cpu")


@contextmanager
def widest_product(head: nn.Module) -> Iterator[list[int]]:
    """The number of positions of each product with `head`."""
    seen: list[int] = []
    handle = head.register_forward_hook(lambda module, args, output: seen.append(args[0].shape[:-1].numel()))
    yield seen
    handle.remove()


def windows(count: int, length: int, *, uncounted: int = 0) -> Batch:
    ids = np.random.default_rng(3).integers(1, VOCABULARY, (count, length))
    labels = ids.copy()
    labels[:, :uncounted] = NOT_COUNTED
    return Batch(ids, labels, None, tuple(range(count)), "")


def losses(model: PreTrainedModel, batch: Batch, precision: str = "fp32") -> Tensor:
    with untouched_forward(model, CPU, precision):
        return token_losses(model, batch, device=CPU, precision=precision)


@pytest.mark.parametrize(
    ("count", "length", "sizes"),
    [(8, 256, [8]), (8, 16, [8]), (8, 300, [6, 2]), (3, 2048, [1, 1, 1]), (2, 5000, [1, 1])],
)
def test_windows_are_read_as_many_at_once_as_make_2048_tokens(count: int, length: int, sizes: list[int]) -> None:
    batch = windows(count, length)
    parts = list(few_windows(batch))
    assert [len(part.input_ids) for part in parts] == sizes
    assert np.array_equal(np.concatenate([part.labels for part in parts]), batch.labels)
    assert tuple(number for part in parts for number in part.window_ids) == batch.window_ids


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_few_logits_at_a_time_give_the_loss_of_all(
    family: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(family, layers=2)
    batch = windows(3, 12, uncounted=4)
    expected = losses(model, batch, precision)
    monkeypatch.setattr(head_module, "CHUNK_VALUES", 5 * VOCABULARY)
    found = losses(model, batch, precision)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6 if precision == "fp32" else 2e-2)
    assert found[:, :3].eq(0).all()
    assert found[:, 3:].ne(0).all()


def test_the_head_never_reads_more_positions_than_the_bound_and_none_that_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model("llama", layers=1)
    batch = windows(4, 20, uncounted=10)
    monkeypatch.setattr(head_module, "CHUNK_VALUES", 7 * VOCABULARY)
    losses(model, batch)  # what is tried once is not the loss
    with widest_product(model.get_output_embeddings()) as positions:
        losses(model, batch)
    assert positions == [7, 7, 7, 7, 7, 5]


def test_a_model_whose_head_cannot_be_run_apart_reads_one_window_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama", layers=1)
    batch = windows(3, 10)
    expected = losses(model, batch)
    monkeypatch.setattr(head_module, "CHUNK_VALUES", 7 * VOCABULARY)
    monkeypatch.setattr(head_module, "body_of", lambda model: None)
    with widest_product(model.get_output_embeddings()) as positions:
        found = losses(model, batch)
    assert positions == [10, 10, 10]
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_head_that_looks_at_other_positions_is_not_run_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "CHUNK_VALUES", 1)
    model = tiny_model("llama", layers=1)

    class Neighbours(nn.Linear):
        def forward(self, hidden: Tensor) -> Tensor:
            return super().forward(hidden + hidden.mean(dim=1, keepdim=True))

    own = model.get_output_embeddings()
    other = Neighbours(own.in_features, own.out_features, bias=False)
    other.weight = own.weight
    model.set_output_embeddings(other)
    model.eval()
    assert head_where_logits_are_many(model, windows(1, 40).input_ids, device=CPU, precision="fp32") is None
    model.set_output_embeddings(own)
    twin = copy.deepcopy(model)
    assert head_where_logits_are_many(twin, windows(1, 40).input_ids, device=CPU, precision="fp32") is not None


def test_padding_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama", layers=2)
    batch = random_batch(1)
    padded = replace(
        batch,
        input_ids=np.pad(batch.input_ids, ((0, 0), (0, 4))),
        labels=np.pad(batch.labels, ((0, 0), (0, 4)), constant_values=NOT_COUNTED),
        attention_mask=np.pad(np.ones_like(batch.input_ids), ((0, 0), (0, 4))),
    )
    monkeypatch.setattr(head_module, "CHUNK_VALUES", 3 * VOCABULARY)
    alone, beside = (evaluate_loss(model, [own], device=CPU, precision="fp32") for own in (batch, padded))
    assert beside.predictions == alone.predictions
    assert beside.window_losses == pytest.approx(alone.window_losses, rel=1e-5)
