"""Into which parts does an experiment fall, that different machines may do? Heads first, then units, and the tails.

The head prepares every variant, settles what a budget of time is in steps, and races learning rates. A unit is one
replicate of one variant: all its arms, or a group of them with the baseline, since times compare within a unit alone. A
tail measures the memory of a variant's arms. Whoever does a part goes on with a copy of the run folder's beginning, as
a run goes on that was stopped, and does no more than its part: all that makes a run survive makes a part survive.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from frostline.recipe import Recipe, variants_of

if TYPE_CHECKING:
    from frostline.arms import Prepared


@dataclass(frozen=True)
class Head:
    """What comes before all units: the variants as prepared, budgets of time in steps, races of learning rates."""

    schedules: tuple[tuple[str, str], ...] = ()
    """Labels of variants whose schedule was settled before, and what it is; `prepare` settles the others."""

    @property
    def name(self) -> str:
        """What its folder is called."""
        return "head"

    @property
    def title(self) -> str:
        """For people."""
        return "before the units"


@dataclass(frozen=True)
class Unit:
    """Some arms of one replicate of one variant, the baseline among them."""

    variant: str
    """Label of the variant; '' where nothing varies."""
    seed: int
    arms: tuple[str, ...]
    """In the order of the recipe."""
    place: tuple[int, int] = (0, 0)
    """Number of the variant, and of the group among those of its replicate; counted from 0."""

    @property
    def name(self) -> str:
        """What its folder is called."""
        variant, group = self.place
        return f"variant{variant}-seed{self.seed}-group{group}"

    @property
    def title(self) -> str:
        """For people: variant, seed, and the group's arms beside the baseline where there are several groups."""
        words = [self.variant] if self.variant else []
        return ", ".join([*words, f"seed {self.seed}", *([f"group {self.place[1] + 1}"] if self.place[1] else [])])


@dataclass(frozen=True)
class Tail:
    """What comes of a variant beside its units: the peak memory of its arms."""

    variant: str
    place: int = 0
    """Number of the variant, counted from 0."""

    @property
    def name(self) -> str:
        """What its folder is called."""
        return f"variant{self.place}-memory"

    @property
    def title(self) -> str:
        """For people."""
        return f"memory of {self.variant}" if self.variant else "memory"


Part = Head | Unit | Tail


def units_of(recipe: Recipe) -> list[Unit]:
    """The units of the experiment, in the order in which one process would come to them."""
    names, largest = list(recipe.arms), recipe.resources.arms
    others = [name for name in names if name != recipe.baseline_arm]
    size = len(others) if largest is None else largest
    chunks = [others[begin : begin + size] for begin in range(0, len(others), max(1, size))] or [[]]
    groups = [tuple(name for name in names if name == recipe.baseline_arm or name in chunk) for chunk in chunks]
    return [
        Unit(variant.label, seed, arms, (index, group))
        for index, variant in enumerate(variants_of(recipe))
        for seed in variant.recipe.seeds
        for group, arms in enumerate(groups)
    ]


def group_of(part: Part | None, recipe: Recipe) -> str:
    """What the arms of `part` are called where it is one of several groups of a replicate; '' where it has them all."""
    if not isinstance(part, Unit) or len(part.arms) == len(recipe.arms):
        return ""
    return f"group {part.place[1] + 1}"


def tails_of(recipe: Recipe) -> list[Tail]:
    """The tails of the experiment: none where memory is not measured."""
    variants = enumerate(variants_of(recipe))
    return [Tail(variant.label, index) for index, variant in variants if variant.recipe.measures.memory]


def concerns(part: Part | None, variant: str) -> bool:
    """Whether whoever does `part` (None: everything) has anything to do with `variant`."""
    return part is None or isinstance(part, Head) or part.variant == variant


def of_part(prepared: Prepared, part: Part | None) -> Prepared:
    """`prepared` with no more than the arms of `part`; of a head, with the schedule that was settled for it."""
    if isinstance(part, Head):
        return replace(prepared, schedule=dict(part.schedules).get(prepared.variant, prepared.schedule))
    if not isinstance(part, Unit):
        return prepared
    by_seed = {
        seed: {name: own for name, own in planned.items() if name in part.arms}
        for seed, planned in prepared.planned_by_seed.items()
    }
    arms = {name: own for name, own in prepared.arms.items() if name in part.arms}
    return replace(prepared, arms=arms, planned_by_seed=by_seed)
