"""Inspect a model, a recipe or a run from Python; load a model and its tokenizer for a loop of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import frostline
from frostline.errors import ModelError, PlanError, RecipeError, RunFolderError
from tests.builders.experiments import run_tiny, write_experiment


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arms = {"full": {"train": "all"}}
    recipe = write_experiment(tmp_path_factory.mktemp("verbs"), arms=arms, seeds=[0], save=["full"])
    run_tiny(recipe, recipe.parent / "run")
    return recipe


@pytest.fixture(autouse=True)
def cache(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(recipe.parent / "cache"))


def test_a_model_with_a_text_is_as_a_recipe_that_names_both(recipe: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = recipe.parent
    settings = {"windows": {"length": 16, "held_out": 8}, "arms": {"any": {"train": "all"}}}
    named = settings | {"model": {"source": folder / "model"}, "corpus": {"source": folder / "text.txt"}}
    by_model = frostline.inspect_model(
        str(folder / "model"), corpus=str(folder / "text.txt"), length=16, signals=["snr"]
    )
    by_recipe = frostline.inspect_model(named, signals=["snr"])
    assert by_model.frame().equals(by_recipe.frame())
    assert by_model.frame().columns == ["signal", "layer", "role", "head", "value"]
    assert capfd.readouterr() == ("", "")


def test_a_run_tells_where_its_training_acted_and_leaves_a_page(recipe: Path, tmp_path: Path) -> None:
    found = frostline.inspect_run(recipe.parent / "run", signals=["snr"], page=tmp_path / "inside.html")
    assert found.tuned is not None
    assert found.tuned.arm == "full"
    assert (tmp_path / "inside.html").is_file()


def test_mistakes_are_sentences(recipe: Path) -> None:
    with pytest.raises(PlanError, match="there is no signal 'sn'"):
        frostline.inspect_model("embedded", signals=["sn"])
    with pytest.raises(RecipeError, match="names its own corpus"):
        frostline.inspect_model(frostline.load_recipe(recipe), corpus="text.txt")
    with pytest.raises(RunFolderError, match="no trained model of an arm 'freeze'"):
        frostline.inspect_run(recipe.parent / "run", arm="freeze")
    with pytest.raises(ModelError, match=r"there is no folder '\./modle'"):
        frostline.load_model("./modle")


def test_a_model_and_its_tokenizer_are_loaded_as_an_experiment_loads_them(recipe: Path) -> None:
    source = str(recipe.parent / "model")
    model, tokenizer = frostline.load_model(source), frostline.load_tokenizer(source)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.training
    assert model(input_ids=torch.tensor([tokenizer("one two").input_ids])).logits.isfinite().all()
