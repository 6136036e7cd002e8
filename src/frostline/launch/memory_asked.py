"""How much memory is Ray asked for? What the recipe says, else what a unit is counted to take; nothing on a GPU.

Ray's `memory` is what a node says it has, about seven tenths of what is there: no more units begin on it than it has
memory for, and nobody is held to what was asked for. So whoever asks also settles how arms train where the recipe
leaves it open (`training.schedule: auto`): what is asked for is what is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from frostline.errors import RecipeError
from frostline.experiment import units_of
from frostline.forecast import UnitBytes, unit_bytes
from frostline.launch.ray_cluster import Needs, Node
from frostline.readable import size
from frostline.recipe import ArmSettings, Recipe, variants_of

ROUNDED_BYTES = 10_000_000


@dataclass(frozen=True)
class UnitNeeds:
    """What a unit takes of a machine, and how it is to train so that this is so."""

    needs: Needs
    schedules: Mapping[str, str] = field(default_factory=dict)
    """By label of the variant, the schedule that the recipe leaves open and that is settled here."""


def for_units(
    needs: Needs, recipe: Recipe, nodes: Sequence[Node], cache: Path, settled: Mapping[str, str]
) -> UnitNeeds:
    """`needs` with the memory of the largest unit. `settled` are the schedules that the run was begun with, by variant.

    A schedule that neither says is side by side where the largest machine has room for that, else one after another.
    Raises `RecipeError` where no machine has as much.
    """
    room = _room(needs, recipe, nodes)
    if not room:
        return UnitNeeds(needs)
    counts: dict[str, UnitBytes | None] = {}
    schedules: dict[str, str] = {}
    most = 0
    for variant in variants_of(recipe):
        own = variant.recipe
        units = {unit.arms for unit in units_of(recipe) if unit.variant == variant.label}
        found = []
        for arms in units:
            key = _what_counts(own, arms)
            if key not in counts:
                counts[key] = unit_bytes(own, arms, cache, room)
            found.append(counts[key])
        known = [one for one in found if one is not None]
        schedule = settled.get(variant.label, own.training.schedule)
        if schedule == "auto":
            together = max((one.side_by_side for one in known), default=0)
            schedule = "lock-step" if _rounded(together) <= room else "one-by-one"
            schedules |= {variant.label: schedule} if len(known) == len(found) else {}
        most = max([most, *(one.by(schedule) for one in known)])
    return UnitNeeds(_asking(needs, recipe, room, most, "unit"), schedules)


def for_trials(needs: Needs, recipe: Recipe, nodes: Sequence[Node], cache: Path) -> Needs:
    """`needs` with the memory of a trial of full training. Raises `RecipeError` where no machine has as much."""
    room = _room(needs, recipe, nodes)
    if not room:
        return needs
    measures = recipe.measures.model_copy(update={"memory": False, "judge": None, "weight_change_every": 0})
    changed = {"arms": {"full": ArmSettings(train=("all",))}, "measures": measures}
    counted = unit_bytes(recipe.model_copy(update=changed), ("full",), cache, room)
    return _asking(needs, recipe, room, 0 if counted is None else counted.one_by_one, "trial")


def _room(needs: Needs, recipe: Recipe, nodes: Sequence[Node]) -> float:
    """Bytes that the largest machine has for tasks; 0 where none are asked for, or a cluster keeps no account."""
    if recipe.resources.memory_gb is not None or needs.gpus:
        return 0.0
    return max(node.memory_bytes for node in nodes if needs.fits(node))


def _rounded(counted: int) -> int:
    return -(-counted // ROUNDED_BYTES) * ROUNDED_BYTES


def _asking(needs: Needs, recipe: Recipe, room: float, counted: int, what: str) -> Needs:
    rounded = _rounded(counted)
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
