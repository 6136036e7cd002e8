"""What does `frostline inspect` look at? The recipe file that it is given, or a recipe made for a model."""

from __future__ import annotations

from pathlib import Path

from frostline.errors import RecipeError
from frostline.recipe.load import load_recipe, validate_recipe
from frostline.recipe.place import Place
from frostline.recipe.settings import Recipe
from frostline.recipe.source import RecipeSource
from frostline.recipe.sources import EMBEDDED
from frostline.text import one_line

DEFAULT_LENGTH = 128
"""Tokens of a window, unless asked for others."""

_WORDS = {"model.source": "model", "corpus": "corpus", "corpus.source": "corpus", "windows.length": "length"}


def inspected_recipe(target: str, corpus: str | None, length: int | None) -> Recipe:
    """The recipe file `target`, or one for the model `target`, with the corpus and window length that were asked for.

    Raises `RecipeError`.
    """
    path = Path(target)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if corpus is not None or length is not None:
            raise RecipeError(
                f"{target}: a recipe names its own corpus and windows.", "Use --corpus and --length with a model alone."
            )
        return load_recipe(path)
    values: dict[str, object] = {
        "name": f"inside {one_line(path.name or target)}"[:80],
        "model": {"source": target},
        "corpus": {"source": corpus or EMBEDDED},
        "windows": {"length": length or DEFAULT_LENGTH, "held_out": 8},
        "arms": {"full": {"train": ["all"]}},
    }
    return validate_recipe(values, RecipeSource(words=_WORDS)).placed(Place(Path.cwd()))
