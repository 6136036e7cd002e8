"""How much memory is Ray asked for? What the recipe says, else what a unit is counted to take; nothing on a GPU.

Ray's `memory` is what a node says it has, about seven tenths of what is there: no more units begin on it than it has
memory for, and nobody is held to what was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from frostline.errors import RecipeError
from frostline.experiment import units_of
from frostline.forecast import unit_bytes
from frostline.launch.ray_cluster import Needs, Node
from frostline.readable import size
from frostline.recipe import ArmSettings, Recipe, variants_of

ROUNDED_BYTES = 10_000_000


def for_units(needs: Needs, recipe: Recipe, nodes: Sequence[Node], cache: Path) -> Needs:
    """`needs` with the memory of the largest unit. Raises `RecipeError` where no machine has as much."""
    variants = {variant.label: variant.recipe for variant in variants_of(recipe)}
    asked = {
        _what_counts(variants[unit.variant], unit.arms): (variants[unit.variant], unit.arms)
        for unit in units_of(recipe)
    }
    return _asking(needs, recipe, nodes, cache, asked.values(), "unit")


def for_trials(needs: Needs, recipe: Recipe, nodes: Sequence[Node], cache: Path) -> Needs:
    """`needs` with the memory of a trial of full training. Raises `RecipeError` where no machine has as much."""
    measures = recipe.measures.model_copy(update={"memory": False, "judge": None, "weight_change_every": 0})
    training = recipe.training.model_copy(update={"schedule": "one-by-one"})
    changed = {"arms": {"full": ArmSettings(train=("all",))}, "measures": measures, "training": training}
    return _asking(needs, recipe, nodes, cache, [(recipe.model_copy(update=changed), ("full",))], "trial")


def _asking(
    needs: Needs,
    recipe: Recipe,
    nodes: Sequence[Node],
    cache: Path,
    asked: Iterable[tuple[Recipe, tuple[str, ...]]],
    what: str,
) -> Needs:
    if recipe.resources.memory_gb is not None or needs.gpus:
        return needs
    room = max(node.memory_bytes for node in nodes if needs.fits(node))
    if not room:  # a cluster that keeps no account of memory
        return needs
    counted = [unit_bytes(own, arms, cache, room) for own, arms in asked]
    most = max((found for found in counted if found is not None), default=0)
    rounded = -(-most // ROUNDED_BYTES) * ROUNDED_BYTES
    if rounded > room:
        error = RecipeError(
            f"a {what} takes about {size(rounded)} of memory, and the largest machine of the cluster has {size(room)} "
            "for tasks.",
            "Set resources.memory_gb to what Ray is to be asked for instead, train less at once, or add a larger "
            "machine.",
        ).at("resources", "memory_gb")
        recipe.source.locate(error)
        raise error
    return replace(needs, memory_bytes=rounded)


def _what_counts(recipe: Recipe, arms: Sequence[str]) -> str:
    """What the memory of a unit depends on: variants of many texts have one memory."""
    counted = recipe.model_copy(update={"arms": {name: recipe.arms[name] for name in arms}})
    return counted.model_dump_json(include={"arms", "model", "training", "windows", "measures"})
