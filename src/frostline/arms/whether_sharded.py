"""Do the processes of a run hold its weights together? As the recipe says; with `auto`, where an arm fits on no device.

One answer holds for the whole run, all its variants and arms: it is given once, by rank 0, before anything is loaded,
by the count that also refuses what cannot fit (`arms.fits`). The journal keeps it, and a run that goes on does not ask
again: whatever is free then, its bits are those of the answer that it began with.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from frostline.arms.fits import too_large
from frostline.engine import World
from frostline.errors import RecipeError
from frostline.readable import size
from frostline.recipe import Recipe, variants_of


def is_to_be_sharded(recipe: Recipe, cache: Path, world: World, say: Callable[[str], None]) -> bool:
    """Whether the processes of `world`, one of which asks, shard the weights of `recipe`; `say` is told why.

    Raises `RecipeError` where they would have to, and cannot.
    """
    if recipe.training.sharding != "auto" or world.alone:
        return recipe.training.sharding == "full"
    variants = variants_of(recipe)
    for variant in variants:
        found = too_large(variant.recipe, cache)
        if found is None:
            continue
        where = f" of {variant.label}" if variant.label else ""
        sentence = (
            f"arm '{found.arm}'{where} is forecast to need {size(found.needed_bytes)} in one process, and "
            f"{size(found.free_bytes)} of memory are free for each"
        )
        for other in variants:
            if (refused := not_with_shards(other.recipe)) is not None:
                with recipe.locating_errors():
                    raise RecipeError(f"{sentence}; but {refused[0]}", refused[1]).at("training", "sharding")
        say(f"{sentence[0].upper()}{sentence[1:]}: the weights of all arms are sharded over {world.size} processes.")
        return True
    return False


def with_sharded_weights(recipe: Recipe) -> Recipe:
    """`recipe` as if it asked for what `auto` became."""
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"sharding": "full"})})


def not_with_shards(recipe: Recipe) -> tuple[str, str] | None:
    """What of `recipe` cannot be done with sharded weights, in a sentence, and what would work; None where all can."""
    training, without = recipe.training, "Set training.sharding=none."
    raced = [name for name in recipe.arms if recipe.learning_rate_of(name) == "best"]
    if raced:
        return (
            f"learning rates are not raced with sharded weights, and arm '{raced[0]}' has none.",
            f"Set a training.learning_rate. {without}",
        )
    if training.frozen_weights != "exact":
        return (
            f"frozen weights in {training.frozen_weights} cannot be sharded.",
            f"Set training.frozen_weights=exact. {without}",
        )
    if training.prefix_cache.fill == "always":
        return (
            "layers whose stored rows are filled before training cannot be sharded.",
            f"Set training.prefix_cache.fill=never. {without}",
        )
    if training.compile:
        return "compiled layers cannot be sharded.", f"Set training.compile=false. {without}"
    return None
