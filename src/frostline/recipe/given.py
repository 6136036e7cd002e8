"""Which recipe is meant? The path of a file, a mapping as YAML would give it, or a `Recipe` that is there already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import cast

from frostline.errors import RecipeError
from frostline.recipe.load import Overrides, load_recipe, override, plain, validate_recipe
from frostline.recipe.place import Place
from frostline.recipe.settings import Recipe
from frostline.recipe.source import RecipeSource

GivenRecipe = str | PathLike[str] | Mapping[str, object] | Recipe
"""Path of a recipe file, the values of one, or a recipe."""


def given_recipe(recipe: GivenRecipe, overrides: Overrides = ()) -> Recipe:
    """The recipe that is meant, with `overrides` applied.

    Paths in a file are relative to its folder, others to the present one. Raises `RecipeError`.
    """
    if isinstance(recipe, str | PathLike):
        return load_recipe(recipe, overrides)
    if isinstance(recipe, Recipe):
        source, values, place = recipe.source, recipe.model_dump(mode="json"), recipe.place
    elif isinstance(recipe, Mapping):
        source, values, place = RecipeSource(), cast("dict[str, object]", plain(recipe)), Place()
    else:
        raise RecipeError(
            f"a recipe is the path of a file, a mapping of keys, or a Recipe; found {type(recipe).__name__}."
        )
    source = replace(source, overridden=(*source.overridden, *override(values, overrides)))
    meant = validate_recipe(values, source)
    if isinstance(recipe, Recipe):
        meant = meant.model_copy(update={"model": meant.model.trusting(recipe.model.trusted_code)})
    return meant.placed(place if place.folder is not None else Place(Path.cwd()))
