"""The recipes that ship with Frostline, commented and runnable, copied with `frostline init`; and their schema.

Beside a copy lies the schema that its first line names, so that an editor knows every key without a network. Its name
begins with a dot: a corpus that is the folder of its recipe does not hold it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import cast

from frostline.errors import RecipeError, nearest

SCHEMA_FILE = "recipe.schema.json"
"""The schema in the package; `frostline.recipe.schema` makes it."""
SCHEMA_BESIDE = ".frostline.schema.json"
"""The schema beside a copied recipe."""
FIRST_LINE = f"# yaml-language-server: $schema={SCHEMA_BESIDE}\n"
"""What editors look for."""


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


def schema_text() -> str:
    """The JSON Schema of recipes, as it ships with the package."""
    return (files("frostline.recipe") / SCHEMA_FILE).read_text(encoding="utf-8")


def recipe_schema() -> dict[str, object]:
    """The JSON Schema of recipes (draft 7): every key with its type, default and meaning."""
    return cast("dict[str, object]", json.loads(schema_text()))


def copy_recipe(name: str, folder: str | PathLike[str] = ".") -> Path:
    """Write the shipped recipe `name` into `folder`, which is made if there is none; returns the file.

    Beside it lies `.frostline.schema.json`, by which an editor completes and checks it.

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
    schema = target.with_name(SCHEMA_BESIDE)
    new_schema = schema.with_name(f"{SCHEMA_BESIDE}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            made = True
            file.write(f"{FIRST_LINE}{recipes[name].text}".encode())
        new_schema.unlink(missing_ok=True)
        with new_schema.open("xb") as file:
            file.write(schema_text().encode())
        new_schema.replace(schema)  # that of an older version is of no more use
    except OSError as error:
        if made:
            target.unlink(missing_ok=True)  # a full disk has taken half of it
            new_schema.unlink(missing_ok=True)
        elif target.exists():
            raise RecipeError(
                f"{target} exists already and is not overwritten.", "Rename or remove it first."
            ) from error
        reason = "there is a file of that name" if isinstance(error, FileExistsError) else error.strerror
        raise RecipeError(f"{target.parent}: cannot be written to ({reason}).", "Choose another folder.") from error
    return target
