"""Can the model of a recipe read windows of its length at once? Its configuration tells, before anything is loaded."""

from __future__ import annotations

from frostline.errors import RecipeError
from frostline.recipe import Recipe


def require_window_length(recipe: Recipe, limit: int | None) -> None:
    """Raise `RecipeError` where windows of `recipe` are longer than `limit`, what its model can read (None: any)."""
    if limit is not None and recipe.windows.length > limit:
        raise RecipeError(
            f"{recipe.windows.length} tokens are more than the {limit} that the model '{recipe.model.source}' can "
            "read at once.",
            f"Use {limit} or less.",
        ).at("windows", "length")
