"""What will each arm train? Every plan of a recipe, resolved against its model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from frostline.arms import PlannedArm, plan_arms, prepare, require_window_length
from frostline.loading import filed_context_length, load_model, load_tokenizer
from frostline.plans import Plan
from frostline.readable import seconds
from frostline.recipe import Recipe, parse_selectors, variants_of
from frostline.signals import asks_for_signals


@dataclass(frozen=True)
class PlannedVariant:
    """The arms of one variant of an experiment."""

    variant: str
    """Label of the variant; '' where nothing is varied."""
    model: str
    arms: dict[str, PlannedArm]
    """Arms by name, in the recipe's order."""
    drawn: dict[str, int] = field(default_factory=dict)
    """Arms that are drawn anew for each seed, with the seed as which they are here."""

    def frame(self) -> pl.DataFrame:
        """One row an arm: variant, arm, plan, learning_rate, parameters, trained_parameters, layers, prefix_layers,
        ceiling, ceiling_cached. The rate is null where it is raced before the run."""
        rows = [_row(self.variant, arm) for arm in self.arms.values()]
        return pl.DataFrame(rows, schema_overrides={"learning_rate": pl.Float64})


def plan_recipe(recipe: Recipe, cache: Path, *, say: Callable[[str], None]) -> list[PlannedVariant]:
    """The arms of every variant; where only the corpus varies, once. Raises `FrostlineError` naming the arm at fault.

    The corpus is read only where a plan is chosen by a signal.
    """
    if recipe.training.seconds is not None:
        budget = seconds(recipe.training.seconds)
        say(f"Every arm trains for {budget}: its steps are settled by timing when a run begins")
    planned = []
    drawn: dict[str, int] = {}
    seen_models = set()
    for variant in variants_of(recipe):
        if variant.recipe.model in seen_models and not asks_for_signals(variant.recipe):
            continue  # then plans do not depend on the corpus
        seen_models.add(variant.recipe.model)
        with variant.recipe.locating_errors():
            if asks_for_signals(variant.recipe):
                prepared = prepare(variant, cache, say=say)
                first = prepared.recipe.seeds[0]
                arms, drawn = prepared.arms, dict.fromkeys(prepared.planned_by_seed.get(first, {}), first)
            else:
                require_window_length(variant.recipe, filed_context_length(variant.recipe.model, cache))
                model = load_model(variant.recipe.model, cache, as_filed="fp32")
                tokenizer = load_tokenizer(variant.recipe.model, cache) if _asks_tokenizer(variant.recipe) else None
                arms = plan_arms(variant.recipe, model, None, tokenizer)
        planned.append(PlannedVariant(variant.label, variant.recipe.model.source, arms, drawn))
    return planned


def _asks_tokenizer(recipe: Recipe) -> bool:
    """Whether an arm, or what is watched, names tokens and not their ids."""
    planned = [selector for arm in recipe.arms.values() for selector in Plan.from_settings(arm).selectors]
    selectors = (*planned, *parse_selectors(recipe.measures.watch))
    return any(selector.rows is not None and selector.rows.asks_tokenizer for selector in selectors)


def _row(variant: str, arm: PlannedArm) -> dict[str, object]:
    return {
        "variant": variant,
        "arm": arm.name,
        "plan": arm.plan.text,
        "learning_rate": None if arm.raced else arm.learning_rate,
        "parameters": arm.resolved.parameters,
        "trained_parameters": arm.resolved.trained_values,
        "layers": arm.resolved.layers,
        "prefix_layers": arm.resolved.prefix_layers,
        "ceiling": arm.cost.ceiling,
        "ceiling_cached": arm.cost.ceiling_cached,
    }
