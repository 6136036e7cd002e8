"""What `frostline plan` shows: each arm's plan resolved against the model of the recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import RenderableType

from frostline.arms import plan_arms, prepare
from frostline.engine import load_model
from frostline.recipe import Recipe, variants_of
from frostline.signals import asks_for_signals
from frostline.terminal.plan import draw_plan, plan_as_json


@dataclass(frozen=True)
class PlanOverview:
    drawings: list[RenderableType]
    as_json: list[dict[str, object]]


def plan_overview(recipe: Recipe, cache: Path, *, say: Callable[[str], None]) -> PlanOverview:
    """Every arm of every variant, drawn and as JSON. Raises `FrostlineError` naming the arm at fault."""
    drawings: list[RenderableType] = []
    as_json = []
    seen_models = set()
    for variant in variants_of(recipe):
        if variant.recipe.model in seen_models:
            continue  # the corpus varies, and plans do not depend on it
        seen_models.add(variant.recipe.model)
        with variant.recipe.locating_errors():
            if asks_for_signals(variant.recipe):  # only then is the corpus needed
                arms = prepare(variant, cache, say=say).arms
            else:
                arms = plan_arms(variant.recipe, load_model(variant.recipe.model, cache))
        for name, planned in arms.items():
            title = f"{name} ({variant.label})" if variant.label else name
            drawings.append(draw_plan(planned.resolved, planned.cost, title))
            as_json.append(plan_as_json(planned.resolved, planned.cost, title))
    return PlanOverview(drawings, as_json)
