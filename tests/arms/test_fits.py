"""An arm that certainly does not fit is refused before anything is loaded, with a plan that does."""

from __future__ import annotations

from pathlib import Path

import pytest

from frostline.arms import fits
from frostline.arms.fits import require_fitting
from frostline.errors import TrainingError
from frostline.recipe import load_recipe
from tests.builders.experiments import run_tiny, write_experiment
from tests.builders.models import tiny_model

LAYER = sum(parameter.numel() for parameter in tiny_model("llama").model.layers[0].parameters())
WHOLE = sum(parameter.numel() for parameter in tiny_model("llama").parameters())
UNWATCHED = "measures.weight_change_every=0"
ONE_ARM = "arms={only: {train: [all]}}"


def require(folder: Path, free: int, monkeypatch: pytest.MonkeyPatch, *overrides: str, family: str = "llama") -> None:
    recipe = load_recipe(write_experiment(folder, family=family), [UNWATCHED, *overrides])
    monkeypatch.setattr(fits, "free_memory_bytes", lambda: free)
    with recipe.locating_errors():
        require_fitting(recipe, folder / "cache")


def test_weights_gradients_and_moments_of_what_trains_are_what_is_certain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(tmp_path, 16 * WHOLE, monkeypatch, ONE_ARM)
    with pytest.raises(TrainingError, match=f"arms.only': the {WHOLE:,} weights that it trains take"):
        require(tmp_path, 16 * WHOLE - 1, monkeypatch, ONE_ARM)


def test_what_is_watched_is_there_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = ("measures.weight_change_every=1", "measures.watch=['all@0']")
    require(tmp_path, 16 * WHOLE + 4 * LAYER, monkeypatch, ONE_ARM, *watched)
    with pytest.raises(TrainingError, match="moments and what is watched of them"):
        require(tmp_path, 16 * WHOLE + 4 * LAYER - 1, monkeypatch, ONE_ARM, *watched)
    require(tmp_path, 16 * WHOLE + 4 * LAYER, monkeypatch, ONE_ARM, *watched[:1], "measures.watch=['name:nothing*']")


@pytest.mark.parametrize(
    "plan", ["{train: ['all@-1:']}", "{train: ['attn.qkv']}", "{lora: {rank: 2}}", "{train: ['name:*q_proj*']}"]
)
def test_a_plan_that_trains_less_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: str) -> None:
    require(tmp_path, 16 * LAYER + 10_000, monkeypatch, f"arms={{only: {plan}}}")


def test_the_hint_names_the_plan_of_the_most_layers_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError) as caught:
        require(tmp_path, 16 * 2 * LAYER + 10, monkeypatch, ONE_ARM)
    assert "'all@-2:'" in str(caught.value)
    assert len(str(caught.value)) < 300
    with pytest.raises(TrainingError, match="attention alone"):
        require(tmp_path, 1000, monkeypatch, ONE_ARM)


def test_the_reference_loop_holds_a_copy_of_the_whole_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = ("arms={only: {train: ['all@-1:']}}", "training.engine=reference")
    with pytest.raises(TrainingError):
        require(tmp_path, 16 * LAYER + 10, monkeypatch, *few)


@pytest.mark.parametrize("family", ["gpt2", "bloom", "phi3"])
def test_what_names_do_not_tell_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    require(tmp_path, 10, monkeypatch, "arms={only: {train: ['attn.q']}}", family=family)
    with pytest.raises(TrainingError):
        require(tmp_path, 10, monkeypatch, ONE_ARM, family=family)


def test_a_run_is_refused_before_anything_is_loaded_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write_experiment(tmp_path)
    monkeypatch.setattr(fits, "free_memory_bytes", lambda: 1000)
    monkeypatch.setattr("frostline.arms.untouched.load_model", lambda *args, **kwargs: pytest.fail("loaded"))
    with pytest.raises(TrainingError, match=r"recipe\.yaml"):
        run_tiny(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
