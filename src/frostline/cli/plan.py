"""What `frostline plan` shows: each arm's plan resolved against the model of the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import RenderableType

from frostline.engine.pretrained import load_model
from frostline.launch.prepare import resolve_arms, tokens_of_a_step
from frostline.plans import draw_plan, plan_as_json, plan_cost
from frostline.recipe import Recipe, variants_of


@dataclass(frozen=True)
class PlanOverview:
    drawings: list[RenderableType]
    as_json: list[dict[str, object]]


def plan_overview(recipe: Recipe, cache: Path) -> PlanOverview:
    """Every arm of every variant, drawn and as JSON. Raises `FrostlineError` naming the arm at fault."""
    drawings: list[RenderableType] = []
    as_json = []
    seen_models = set()
    for variant in variants_of(recipe):
        if variant.recipe.model in seen_models:
            continue  # the corpus varies, and plans do not depend on it
        seen_models.add(variant.recipe.model)
        model = load_model(variant.recipe.model, cache)
        for name, (_, resolved) in resolve_arms(variant.recipe, model).items():
            cost = plan_cost(model, resolved, tokens_of_a_step(recipe), sequence_length=recipe.windows.length)
            title = f"{name} ({variant.label})" if variant.label else name
            drawings.append(draw_plan(resolved, cost, title))
            as_json.append(plan_as_json(resolved, cost, title))
    return PlanOverview(drawings, as_json)
