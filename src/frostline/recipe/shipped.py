"""The recipes that ship with Frostline: commented, runnable, copied with `frostline init`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from os import PathLike
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


def copy_recipe(name: str, folder: str | PathLike[str] = ".") -> Path:
    """Write the shipped recipe `name` into `folder`, which is made if there is none; returns the file.

    Raises `RecipeError` where there is no such recipe, the file exists, or it cannot be written.
    """
    recipes = {recipe.name: recipe for recipe in shipped_recipes()}
    name = name.removesuffix(".yaml")
    if name not in recipes:
        raise RecipeError(
            f"there is no shipped recipe '{name}'.",
            nearest(name, recipes) or f"There are: {', '.join(recipes)}.",
        )
    target, made = Path(folder) / f"{name}.yaml", False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            made = True
            file.write(recipes[name].text.encode())
    except OSError as error:
        if made:
            target.unlink(missing_ok=True)  # a full disk has taken half of it
        elif target.exists():
            raise RecipeError(
                f"{target} exists already and is not overwritten.", "Rename or remove it first."
            ) from error
        reason = "there is a file of that name" if isinstance(error, FileExistsError) else error.strerror
        raise RecipeError(f"{target.parent}: cannot be written to ({reason}).", "Choose another folder.") from error
    return target
