"""What a unit is counted to take, of tiny models: beside the process, every byte follows from sizes."""

from __future__ import annotations

from pathlib import Path

from frostline.forecast import estimate_recipe, unit_bytes
from frostline.forecast.unit_memory import HEADROOM, PROCESS_BYTES
from frostline.recipe import Recipe, load_recipe
from tests.builders.experiments import write_experiment

ROOM = 64e9
ALL = ("full", "freeze", "reversed")


def counted(recipe: Recipe, cache: Path, *arms: str, room: float = ROOM, schedule: str = "lock-step") -> int:
    found = unit_bytes(recipe, arms or tuple(recipe.arms), cache, room)
    assert found is not None
    return found.by(schedule)


def test_it_is_about_what_estimate_measures_and_the_same_each_time(tmp_path: Path) -> None:
    recipe = load_recipe(write_experiment(tmp_path, layers=2, training={"steps": 3, "batch": 64, "precision": "fp32"}))
    (estimated,) = estimate_recipe(recipe, tmp_path, say=lambda sentence: None)
    found = counted(recipe, tmp_path)
    assert found == counted(recipe, tmp_path)
    assert estimated.memory_bytes < found < HEADROOM * (PROCESS_BYTES + 1.2 * estimated.memory_bytes)


def test_arms_count_together_where_they_train_side_by_side(tmp_path: Path) -> None:
    recipe = load_recipe(write_experiment(tmp_path, layers=2))
    alone = counted(recipe, tmp_path, "full")
    assert counted(recipe, tmp_path, *ALL) > alone == counted(recipe, tmp_path, *ALL, schedule="one-by-one")
    assert counted(recipe, tmp_path, "freeze") < alone


def test_memory_that_is_measured_beside_it_counts(tmp_path: Path) -> None:
    recipe = load_recipe(write_experiment(tmp_path, layers=2))
    measures = recipe.measures.model_copy(update={"memory": True})
    beside = counted(recipe.model_copy(update={"measures": measures}), tmp_path)
    assert beside - counted(recipe, tmp_path) > PROCESS_BYTES / 2


def test_a_plan_that_a_signal_chooses_counts_as_one_of_everything(tmp_path: Path) -> None:
    chosen = load_recipe(write_experiment(tmp_path, layers=2), ("arms={own: {train: [top:25% by snr]}}",))
    everything = load_recipe(write_experiment(tmp_path, layers=2), ("arms={own: {train: all}}",))
    assert counted(chosen, tmp_path) == counted(everything, tmp_path)


def test_a_model_too_large_to_stay_counts_without_its_frozen_layers(tmp_path: Path) -> None:
    recipe = load_recipe(write_experiment(tmp_path, layers=2))
    assert counted(recipe, tmp_path, "freeze", room=1e3) < counted(recipe, tmp_path, "freeze")


def test_a_model_that_cannot_be_counted_is_left_to_be_told_of_when_it_is_loaded(tmp_path: Path) -> None:
    recipe = load_recipe(write_experiment(tmp_path, layers=2))
    (tmp_path / "model" / "config.json").write_text("{}")
    assert unit_bytes(recipe, ALL, tmp_path, ROOM) is None
