"""What an arm takes is what a count by hand gives: what it holds, and pages of the model's file that may go."""

from __future__ import annotations

from pathlib import Path

import pytest

from frostline.arms import Prepared, foresee, mapped_weight_bytes, pages_of_steps, run_bytes, tensor_bytes
from frostline.recipe import load_recipe, variants_of
from tests.builders.experiments import write_experiment
from tests.builders.filed import write_both
from tests.builders.models import HIDDEN, VOCABULARY, tiny_model

LAYERS, INNER, KEYS = 4, 48, 16
QKV = HIDDEN * (HIDDEN + 2 * KEYS)
MATRICES = QKV + HIDDEN * HIDDEN + 3 * HIDDEN * INNER
"""Values of the matrices of a layer."""
EMBEDDED = VOCABULARY * HIDDEN
"""Values of the embeddings, and of the head."""
NORMS = HIDDEN * (2 * LAYERS + 1)
SAVED = 1000
LOSS = 8 * 4 * 2 * 16 * VOCABULARY
"""Eight times the logits of two windows of 16, all of which are one chunk."""


def foreseen(folder: Path, *overrides: str) -> Prepared:
    write_both(folder, tiny_model("llama"))
    (variant,) = variants_of(load_recipe(write_experiment(folder, model={"source": "narrow"}), overrides))
    return foresee(variant, folder / "cache", say=lambda sentence: None)


def test_what_a_16_bit_file_holds_is_mapped_but_for_norms_and_what_trains(tmp_path: Path) -> None:
    prepared = foreseen(tmp_path)
    freeze, full = prepared.arms["freeze"].resolved, prepared.arms["full"].resolved
    facts = prepared.memory_facts
    trained = 2 * QKV
    mapped = 2 * (LAYERS * MATRICES + 2 * EMBEDDED - trained)
    assert mapped_weight_bytes(facts, freeze) == mapped
    gradients, cast_up = 4 * trained, 4 * EMBEDDED
    step = max(SAVED + LOSS + cast_up, gradients) + 0.3 * SAVED + 0.6 * gradients
    held = 4 * trained + 4 * NORMS + 8 * trained + step
    assert tensor_bytes(facts, freeze, SAVED) - mapped == pytest.approx(held, abs=1)
    assert mapped_weight_bytes(facts, full) == 0
    everything = LAYERS * MATRICES + 2 * EMBEDDED + NORMS
    gradients = 4 * everything
    step = max(SAVED + LOSS, gradients) + 0.3 * SAVED + 0.6 * gradients  # nothing frozen is cast up
    assert tensor_bytes(facts, full, SAVED) == pytest.approx(12 * everything + step, abs=1)


def test_in_bf16_a_frozen_matrix_is_used_as_the_file_has_it(tmp_path: Path) -> None:
    prepared = foreseen(tmp_path, "training.precision=bf16")
    freeze, facts = prepared.arms["freeze"].resolved, prepared.memory_facts
    trained = 2 * QKV
    mapped = 2 * (LAYERS * MATRICES + 2 * EMBEDDED - trained)
    assert mapped_weight_bytes(facts, freeze) == mapped
    step = max(SAVED + LOSS, 4 * trained) + 0.3 * SAVED + 0.6 * 4 * trained
    held = 4 * trained + 4 * NORMS + 8 * trained + step
    assert tensor_bytes(facts, freeze, SAVED) - mapped == pytest.approx(held, abs=1)


def test_layers_that_rows_stand_for_have_left_before_the_steps(tmp_path: Path) -> None:
    prepared = foreseen(tmp_path, "training.prefix_cache.fill=always")
    freeze, facts = prepared.arms["freeze"].resolved, prepared.memory_facts
    trained = 2 * QKV
    mapped = 2 * (2 * MATRICES + 2 * EMBEDDED - trained)
    assert mapped_weight_bytes(facts, freeze) == mapped
    assert not any(f".layers.{layer}." in name for name in pages_of_steps(facts, freeze) for layer in (0, 1))
    step = SAVED + LOSS + 4 * EMBEDDED + 0.3 * SAVED + 0.6 * 4 * trained
    held = 4 * trained + 4 * (NORMS - 4 * HIDDEN) + 8 * trained + step
    assert tensor_bytes(facts, freeze, SAVED) - mapped == pytest.approx(held, abs=1)


def test_a_run_maps_all_matrices_and_holds_what_its_arms_train(tmp_path: Path) -> None:
    arms = "arms={a: {train: ['attn.qkv@3:']}, b: {train: ['attn.qkv@2:']}}"
    prepared = foreseen(tmp_path, "training.schedule=lock-step", "measures.weight_change_every=0", arms)
    found = run_bytes(prepared.memory_facts, {"a": SAVED, "b": SAVED}, 123)
    assert found.mapped == found.mapped_in_steps == 2 * (LAYERS * MATRICES + 2 * EMBEDDED)
    assert found.base == 4 * NORMS
    assert found.arms == 12 * 3 * QKV  # weights and two moments of three layers
    assert (found.rows, found.watch) == (123, 0)
    one_by_one = foreseen(tmp_path, "training.schedule=one-by-one", arms)
    assert run_bytes(one_by_one.memory_facts, {"a": SAVED, "b": SAVED}, 0).arms == 12 * 2 * QKV
