"""How many steps are `training.seconds`? Each arm is timed once, before the run; from then on the number is fixed.

A budget is of step time, so that arms get equal time and not equal steps. What was timed depends on the machine and its
load: the steps that follow are recorded, and a run that goes on takes them from there. Step k reads the same windows in
all arms that come so far.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from frostline.arms.prepared import PlannedArm, Prepared, require_changes_in_time
from frostline.arms.turns import Visits, take_turns
from frostline.engine import measured_peak
from frostline.errors import RecipeError
from frostline.readable import seconds as readable_seconds

ROUNDS = 6
"""Timed steps of each arm on windows seen before."""


@dataclass(frozen=True)
class SettledSteps:
    """What a budget of time became for one arm."""

    steps: int
    seconds_per_step: float
    """The budget over the steps, as timed."""


def settle_steps(prepared: Prepared, say: Callable[[str], None]) -> dict[str, SettledSteps]:
    """The steps that the recipe's budget allows each arm; {} where it has none. Raises `RecipeError` below one step."""
    budget = prepared.recipe.training.seconds
    if budget is None:
        return {}
    guessed = {name: replace(arm, steps=_guess(prepared, arm, budget)) for name, arm in prepared.arms.items()}
    visits = take_turns(replace(prepared, arms=guessed), ROUNDS, say)
    epoch = epoch_steps(prepared)
    settled = {}
    for name, own in visits.items():
        first = statistics.median(step.seconds for step in own.first[1:])
        later = statistics.median(step.seconds for step in own.later) if own.later else first
        steps = steps_within(budget, first if stores(own) else min(first, later), later, epoch)
        if steps < 1:
            raise RecipeError(
                f"{readable_seconds(budget)} are less than one step of arm '{name}', which takes "
                f"{readable_seconds(first)} here.",
                f"Set training.seconds to {math.ceil(first)} or more.",
            ).at("training", "seconds")
        settled[name] = SettledSteps(steps, budget / steps)
    say(budget_sentence({name: own.steps for name, own in settled.items()}, budget))
    return settled


def stores(visits: Visits) -> bool:
    """Whether later visits of a window are quicker because of what the first one stored."""
    return visits.stores_prefix


def steps_within(budget: float, first: float, later: float, epoch: int) -> int:
    """Steps in `budget` seconds, if a step takes `first` seconds in the first `epoch` of them and `later` from then."""
    if budget < first * epoch:
        return int(budget / first)
    return epoch + int((budget - first * epoch) / later)


def epoch_steps(prepared: Prepared) -> int:
    """Steps after which windows have been seen; never, with random offsets."""
    training = prepared.recipe.training
    if prepared.recipe.windows.order == "random":
        return 2**62
    return max(1, prepared.corpus.windows // (training.batch * training.accumulation))


def with_steps(prepared: Prepared, steps: Mapping[str, int]) -> Prepared:
    """`prepared`, its arms of so many steps. Raises `PlanError` where a change of a plan would come too late."""
    if not steps:
        return prepared
    arms = {name: replace(arm, steps=steps[name]) for name, arm in prepared.arms.items()}
    with prepared.recipe.locating_errors():
        for name, arm in arms.items():
            require_changes_in_time(prepared.recipe, name, arm.steps)
    return replace(prepared, arms=arms)


def budget_sentence(steps: Mapping[str, int], budget: float) -> str:
    """`full 31 steps, freeze 74 steps in 60 s each`."""
    return f"{', '.join(f'{name} {count:,} steps' for name, count in steps.items())} in {readable_seconds(budget)} each"


def _guess(prepared: Prepared, arm: PlannedArm, budget: float) -> int:
    """About how many steps the budget will allow, by arithmetic: what storing prefixes pays for is judged by it."""
    return max(1, int(budget * measured_peak(prepared.device, prepared.precision) / 2 / arm.cost.step_flops))
