"""A path, a mapping and a `Recipe` mean the same; keys set beside it win; mistakes are told as those of a file are."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from frostline.errors import RecipeError
from frostline.recipe import GivenRecipe, Overrides, Recipe, given_recipe, load_recipe, recipe_hash, trusting

VALUES: dict[str, object] = {
    "corpus": {"source": "text.txt"},
    "arms": {"full": {"train": "all"}, "freeze": {"train": ["attn.qkv@50%:"]}},
    "seeds": [0, 1],
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe file in the present folder."""
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(VALUES), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return path


def test_a_path_a_text_a_mapping_and_a_recipe_mean_the_same(file: Path) -> None:
    loaded = load_recipe(file)
    assert load_recipe("recipe.yaml") == loaded
    same: list[GivenRecipe] = [file, str(file), "recipe.yaml", VALUES, loaded, Recipe.model_validate(VALUES)]
    assert {recipe_hash(given_recipe(one)) for one in same} == {recipe_hash(loaded)}


def test_what_is_written_in_python_needs_no_lists_or_texts(file: Path) -> None:
    given = {**VALUES, "corpus": {"source": Path("text.txt")}, "seeds": (0, 1)}
    assert given_recipe(given) == load_recipe(file)


@pytest.mark.parametrize(
    "overrides",
    [
        {"training.steps": 7, "arms.freeze.train": ("mlp@-1:",), "vary.corpus.tokens": [10, 20]},
        ["training.steps=7", "arms.freeze.train=[mlp@-1:]", "vary.corpus.tokens=[10, 20]"],
    ],
)
def test_keys_set_beside_it_win_however_it_is_given(overrides: Overrides, file: Path) -> None:
    before = copy.deepcopy(VALUES)
    given: list[GivenRecipe] = [file, VALUES, load_recipe(file)]
    for recipe in (given_recipe(one, overrides) for one in given):
        assert recipe.training.steps == 7
        assert recipe.arms["freeze"].train == ("mlp@-1:",)
        assert recipe.vary == {"corpus.tokens": (10, 20)}
    assert before == VALUES


def test_one_override_may_stand_without_a_list(file: Path) -> None:
    assert given_recipe(file, "training.steps=7").training.steps == 7


def test_a_recipe_keeps_its_paths_and_the_code_that_it_trusts(file: Path, tmp_path: Path) -> None:
    loaded = trusting(load_recipe(file), "sha256:1")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        again = given_recipe(loaded, {"training.steps": 3})
    assert again.corpus.place.path_of(again.corpus.source) == tmp_path / "text.txt"
    assert again.model.trusted_code == "sha256:1"


@pytest.mark.parametrize(
    ("recipe", "overrides", "told"),
    [
        ({**VALUES, "trainin": {}}, (), "recipe, key 'trainin': unknown key. Did you mean 'training'"),
        ({"arms": {"x": {"train": ["atn.q"]}}}, (), r"recipe, key 'arms\.x\.train': .*'atn\.q'.*attn\.q"),
        (VALUES, {"training.stepz": 3}, r"--set training\.stepz, key 'training\.stepz': unknown key"),
        (VALUES, {"training..steps": 3}, r"--set training\.\.steps: an override is written key=value"),
        (VALUES, {"seeds.first": 3}, r"--set seeds\.first: 'seeds' has no keys below it"),
        (VALUES, ["training.steps"], r"--set training\.steps: an override is written key=value"),
        ("nothing.yaml", (), "nothing.yaml: there is no such recipe file"),
        (3, (), "a recipe is the path of a file, a mapping of keys, or a Recipe; found int"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_key(
    recipe: GivenRecipe, overrides: Overrides, told: str, file: Path
) -> None:
    with pytest.raises(RecipeError, match=told):
        given_recipe(recipe, overrides)


def test_a_mistake_in_a_recipe_of_a_file_is_told_with_its_line(file: Path) -> None:
    loaded = load_recipe(file).model_copy(update={"seeds": (1, 1)})
    with pytest.raises(RecipeError, match=r"recipe\.yaml:[0-9]+, key 'seeds': seed 1 is repeated"):
        given_recipe(loaded)
