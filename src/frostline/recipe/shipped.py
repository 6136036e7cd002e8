"""The recipes that ship with Frostline: commented, runnable, copied with `frostline init`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from frostline.errors import RecipeError, nearest


@dataclass(frozen=True)
class ShippedRecipe:
    name: str
    summary: str
    """The first line of the file, without its comment sign."""
    text: str


def shipped_recipes() -> tuple[ShippedRecipe, ...]:
    """Every shipped recipe, by name."""
    folder = files("frostline.recipe") / "library"
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".yaml"):
            text = entry.read_text(encoding="utf-8")
            found.append(ShippedRecipe(entry.name.removesuffix(".yaml"), text.splitlines()[0].lstrip("# "), text))
    return tuple(found)


def copy_recipe(name: str, folder: Path) -> Path:
    """Write the shipped recipe `name` into `folder`. Raises `RecipeError` if unknown, or if the file exists."""
    recipes = {recipe.name: recipe for recipe in shipped_recipes()}
    name = name.removesuffix(".yaml")
    if name not in recipes:
        raise RecipeError(
            f"there is no shipped recipe '{name}'.",
            nearest(name, recipes) or f"There are: {', '.join(recipes)}.",
        )
    target = folder / f"{name}.yaml"
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(recipes[name].text)
    except FileExistsError as error:
        raise RecipeError(f"{target} exists already and is not overwritten.", "Rename or remove it first.") from error
    return target
