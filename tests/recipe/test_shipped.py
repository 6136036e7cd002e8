"""Every shipped recipe is valid, explains itself in its first line, and is copied without overwriting."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest

from frostline.errors import RecipeError
from frostline.recipe import WrittenPlan, load_recipe, variants_of
from frostline.recipe.shipped import copy_recipe, shipped_recipes
from frostline.stats.significance import replicates_needed

NAMES = [recipe.name for recipe in shipped_recipes()]


def test_the_original_protocol_and_the_embedded_default_are_among_them() -> None:
    assert {"moby-dick", "demo"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_recipe_loads_and_its_plans_parse(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(copy_recipe(name, tmp_path))
    assert recipe.question
    for variant in variants_of(recipe):
        for arm in variant.recipe.arms.values():
            WrittenPlan.from_settings(arm)


def test_the_original_protocol_is_the_study_s() -> None:
    text = next(recipe.text for recipe in shipped_recipes() if recipe.name == "moby-dick")
    assert "EleutherAI/gpt-neo-125m" in text
    assert "gutenberg.org/cache/epub/2701/pg2701.txt" in text


@pytest.mark.parametrize("name", NAMES)
def test_first_line_is_a_sentence_for_the_list(name: str) -> None:
    recipe = next(recipe for recipe in shipped_recipes() if recipe.name == name)
    assert recipe.text.startswith("# ")
    assert 20 < len(recipe.summary) < 130


@pytest.mark.parametrize("name", NAMES)
def test_its_replicates_can_decide_or_it_says_what_they_cannot(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(copy_recipe(name, tmp_path))
    text = next(recipe.text for recipe in shipped_recipes() if recipe.name == name)
    needed = replicates_needed(len(recipe.arms) - 1)
    comments = " ".join(line.partition("#")[2].strip() for line in text.splitlines())
    assert len(recipe.seeds) >= needed or "needs seven, [0, 1, 2, 3, 4, 5, 6]" in comments


def test_copying_never_overwrites(tmp_path: Path) -> None:
    target = copy_recipe("demo", tmp_path)
    target.write_text("mine", encoding="utf-8")
    with pytest.raises(RecipeError, match="exists already"):
        copy_recipe("demo", tmp_path)
    assert target.read_text(encoding="utf-8") == "mine"


def test_unknown_name_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'moby-dick'"):
        copy_recipe("mobydick", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_that_a_full_disk_took_half_of_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(path: Path, _: str) -> Full:
        path.touch(exist_ok=False)
        return Full()

    known = shipped_recipes()
    monkeypatch.setattr("frostline.recipe.shipped.shipped_recipes", lambda: known)
    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(RecipeError, match="No space left on device"):
        copy_recipe("demo", tmp_path)
    assert list(tmp_path.iterdir()) == []
