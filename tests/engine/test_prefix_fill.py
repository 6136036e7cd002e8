"""Rows made layer by layer over all windows have the bits of rows made when they are asked for, and survive a kill."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from frostline.corpus import Batch
from frostline.engine import Arm, FillWindow, Prefix, fill_needs, fill_rows, is_filled
from frostline.engine.prefix_passing import PassingRows
from frostline.engine.prefix_store import PrefixStore
from frostline.errors import CacheError
from frostline.plans import Plan
from frostline.recipe import TrainingSettings
from tests.builders.batches import random_batch
from tests.builders.engines import fast_part, make_fast_arm, memory_store
from tests.builders.models import tiny_model
from tests.builders.prefix_rows import PLENTY, flip_bit, open_store, same_bits

LAYERS = 5
PLAN = "train: [attn.qkv@-1:]"


def fast_arm(store: PrefixStore, family: str = "llama", precision: str = "fp32", plan: str = PLAN) -> Arm:
    model = tiny_model(family, layers=LAYERS)
    return make_fast_arm(
        model, Plan.parse(plan), TrainingSettings(steps=4), precision=precision, store=store, fills=True
    )


@cache
def fitted(family: str, precision: str) -> Prefix:
    return fast_part(fast_arm(memory_store(), family, precision)).prefix


def prefix_on(store: PrefixStore, family: str = "llama", precision: str = "fp32") -> Prefix:
    """The bottom of an arm that keeps its rows in `store`."""
    prefix = copy.copy(fitted(family, precision))
    prefix.store = store
    return prefix


def padded_batch() -> Batch:
    batch = random_batch(3, rows=2)
    mask = np.ones_like(batch.input_ids)
    mask[1, 8:] = 0
    return replace(batch, attention_mask=mask)


BATCHES = [random_batch(0, rows=2), random_batch(1, rows=2, length=9), padded_batch()]


def windows() -> list[FillWindow]:
    return [
        FillWindow.of(row, None if batch.attention_mask is None else batch.attention_mask[index])
        for batch in BATCHES
        for index, row in enumerate(batch.input_ids)
    ]


def lazily(family: str, precision: str, depth: int) -> list[Tensor]:
    """The rows of all windows as an arm computes them when it asks for them."""
    prefix = prefix_on(memory_store(), family, precision)
    return [row for batch in BATCHES for row in prefix.rows(batch, depth)]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("family", "on_disk"),
    [("llama", False), *((family, True) for family in ("llama", "gpt2", "gpt_neox", "qwen3", "gemma3_text", "opt"))],
)
def test_filled_rows_have_the_bits_of_rows_that_were_asked_for(
    tmp_path: Path, family: str, precision: str, on_disk: bool
) -> None:
    depths = (1, 4)
    memory_bytes = 0 if on_disk else PLENTY
    with open_store(tmp_path if on_disk else None, memory_bytes=memory_bytes) as store:
        filled = list(fill_rows(prefix_on(store, family, precision), windows(), depths))
        for depth in depths:
            rows = [store.find(window.key, depth) for window in windows()]
            expected = lazily(family, precision, depth)
            assert all(same_bits(row, own) for row, own in zip(rows, expected, strict=True))
    assert [(layer.layer, layer.windows, layer.computed) for layer in filled] == [(n, 6, 6) for n in range(4)]
    assert all(layer.written_bytes > 0 for layer in filled)
    if on_disk:
        kept = sorted(path.name.split(".")[0] for path in tmp_path.rglob("*.rows"))
        assert kept == ["depth-1"] * 2 + ["depth-4"] * 2, "one file for each width; none of what was between"


def test_a_layer_is_in_use_once_around_all_windows() -> None:
    told: list[str] = []

    @contextmanager
    def in_use(layer: int) -> Iterator[None]:
        told.append(f"layer {layer}")
        yield
        told.append(f"done {layer}")

    filling = fill_rows(
        prefix_on(memory_store()),
        windows(),
        (2, 3),
        layer_in_use=in_use,
        tell=lambda done, all_: told.append(str(done)),
    )
    assert len(list(filling)) == 3
    expected = []
    for layer in range(3):
        counts = map(str, range(6 * layer + 1, 6 * layer + 7))
        expected += [f"layer {layer}", *counts, f"done {layer}"]
    assert told == expected


def test_a_second_fill_computes_nothing_and_uses_no_layer() -> None:
    prefix, told = prefix_on(memory_store()), []

    @contextmanager
    def in_use(layer: int) -> Iterator[None]:
        told.append(layer)
        yield

    list(fill_rows(prefix, windows(), (3,)))
    assert is_filled(prefix.store, windows(), (3,))
    assert fill_needs(prefix, windows(), (3,)).nothing
    again = list(fill_rows(prefix, windows(), (3,), layer_in_use=in_use))
    assert [layer.computed for layer in again] == [0, 0, 0]
    assert told == []


def test_rows_that_another_arm_left_at_a_lower_depth_are_where_a_fill_begins() -> None:
    prefix = prefix_on(memory_store())
    list(fill_rows(prefix, windows(), (2,)))
    filled = list(fill_rows(prefix, windows(), (2, 4)))
    assert [layer.computed for layer in filled] == [0, 0, 6, 6]


@pytest.mark.parametrize("left_after", [1, 5, 6, 7, 14, 18, 20, 23])
def test_a_fill_that_was_left_anywhere_goes_on_and_gives_the_same(tmp_path: Path, left_after: int) -> None:
    class LeftError(Exception): ...

    def tell(done: int, total: int) -> None:
        if done == left_after:
            raise LeftError

    with open_store(tmp_path) as store, pytest.raises(LeftError):
        list(fill_rows(prefix_on(store), windows(), (4,), tell=tell))
    with open_store(tmp_path) as store:
        computed = sum(layer.computed for layer in fill_rows(prefix_on(store), windows(), (4,)))
        assert computed == 24 - left_after
        found = [store.find(window.key, 4) for window in windows()]
    expected = lazily("llama", "fp32", 4)
    assert all(same_bits(row, own) for row, own in zip(found, expected, strict=True))


def left_at_depth_two(folder: Path) -> list[Path]:
    """Files of a fill that was left when all windows had passed two of four layers."""
    with open_store(folder) as store:
        for layer in fill_rows(prefix_on(store), windows(), (4,)):
            if layer.layer == 1:
                break
    return sorted(folder.rglob("*passing.rows"))


@pytest.mark.parametrize("damage", ["bit", "cut", "gone"])
def test_damaged_states_are_computed_anew(tmp_path: Path, damage: str) -> None:
    for path in left_at_depth_two(tmp_path):
        if damage == "bit":
            flip_bit(path, 100)
        elif damage == "cut":
            path.write_bytes(path.read_bytes()[:-5])
        else:
            path.unlink()
    with open_store(tmp_path) as store:
        list(fill_rows(prefix_on(store), windows(), (4,)))
        found = [store.find(window.key, 4) for window in windows()]
    expected = lazily("llama", "fp32", 4)
    assert all(same_bits(row, own) for row, own in zip(found, expected, strict=True))
    assert not list(tmp_path.rglob("*passing.rows"))


def test_what_another_fill_left_at_a_greater_depth_is_no_start_for_a_smaller_one(tmp_path: Path) -> None:
    assert left_at_depth_two(tmp_path)
    with open_store(tmp_path) as store:
        list(fill_rows(prefix_on(store), windows(), (1,)))
        assert is_filled(store, windows(), (1,))


def test_the_states_of_another_model_are_not_taken(tmp_path: Path) -> None:
    row = torch.randn(4, 6)
    with closing(PassingRows(tmp_path, b"a" * 32)) as own:
        own.put(b"w" * 32, 2, row)
    with closing(PassingRows(tmp_path, b"a" * 32)) as again:
        assert same_bits(again.find(b"w" * 32, 2), row)
    with closing(PassingRows(tmp_path, b"b" * 32)) as other:
        assert other.find(b"w" * 32, 2) is None


def test_a_disk_too_small_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    with open_store(tmp_path, disk_bytes=1000) as store:
        with pytest.raises(CacheError) as told:
            list(fill_rows(prefix_on(store), windows(), (4,)))
        assert store.statistics().computed == 0
    rows_bytes = sum(len(window.input_ids) * 32 * 4 for window in windows()) + 6 * 96
    assert told.value.message == (
        f"{tmp_path}: the rows of 6 windows need {3 * rows_bytes / 1e9:.3g} GB, and there is room for 1e-06 GB."
    )
    assert "training.prefix_cache.disk_mb" in told.value.hint


def test_a_disk_too_small_does_not_matter_where_memory_has_room(tmp_path: Path) -> None:
    with open_store(tmp_path, disk_bytes=1000, memory_bytes=PLENTY) as store:
        list(fill_rows(prefix_on(store), windows(), (4,)))
        assert is_filled(store, windows(), (4,))


def test_a_disk_that_fills_up_during_the_fill_stops_it_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    with open_store(tmp_path) as store:
        filling = fill_rows(prefix_on(store), windows(), (4,))
        next(filling)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=50_000_000))
        with pytest.raises(CacheError, match=r"has stopped\. The disk of .* is nearly full"):
            list(filling)


def test_an_arm_trains_on_filled_rows_as_on_its_own() -> None:
    store = memory_store()
    arm, lazy = fast_arm(store), fast_arm(memory_store())
    batches = [random_batch(number) for number in range(3)]
    read = [FillWindow.of(row, None) for batch in batches for row in batch.input_ids]
    list(fill_rows(fast_part(arm).prefix, read, (4,)))
    for step, batch in enumerate(batches):
        assert arm.take_step(batch, step).loss_nats == lazy.take_step(batch, step).loss_nats
    assert fast_part(arm).prefix.counts.computed == 0
    assert fast_part(lazy).prefix.counts.computed == 12


def test_layers_that_hand_on_more_than_one_state_are_refused_before_a_fill(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = fast_part(make_fast_arm(tiny_model("llama", layers=LAYERS), Plan.parse(PLAN), TrainingSettings(steps=4)))
    assert lazy.fitted.fit.prefix is not None
    assert lazy.fitted.fit.prefix.refusal is None

    def otherwise(self: Prefix, ids: Tensor, mask: Tensor | None, depth: int) -> dict[int, Tensor]:
        return {reached: torch.zeros(12, 32) for reached in range(1, depth + 1)}

    monkeypatch.setattr(Prefix, "compute_by_layers", otherwise)
    trial = fast_part(fast_arm(memory_store())).fitted.fit.prefix
    assert trial is not None
    assert trial.refusal == "its layers hand on more than one hidden state"


def test_a_row_is_as_large_as_it_is_told() -> None:
    prefix = prefix_on(memory_store())
    (row,) = prefix.rows(random_batch(0, rows=1), 4)
    assert prefix.row_bytes(12) == row.nbytes
