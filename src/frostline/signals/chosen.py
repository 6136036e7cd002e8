"""Which selectors does a signal choose for a recipe? `train: [top:25% by snr]` is resolved once, for all replicates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from frostline.errors import at
from frostline.plans import ModelMap, Plan, portions_of
from frostline.recipe import ArmSettings, ChangeSettings, Recipe
from frostline.signals.choose import MeasureSignal, resolve_choices, signals_asked_for
from frostline.signals.kept import signals_of
from frostline.signals.measure import SignalInputs
from frostline.signals.signal import Signal

Chosen = dict[str, dict[str, list[str]]]
"""For each arm and each of its selectors that computed, the selectors that stand in its place."""


def asks_for_signals(recipe: Recipe) -> bool:
    """Whether any arm has a selector that computes."""
    return any(signals_asked_for(Plan.from_settings(arm)) for arm in recipe.arms.values())


def resolve_recipe_choices(
    recipe: Recipe, inputs: SignalInputs, cache: Path, *, say: Callable[[str], None]
) -> tuple[Recipe, Chosen]:
    """`recipe` with every selector that computes replaced, and what each became. Raises `PlanError` naming the arm."""
    for name, arm in recipe.arms.items():  # before signals are measured, which takes its time
        with at("arms", name):
            for written in Plan.from_settings(arm).selectors:
                if written.choice is None:
                    portions_of(written, inputs.map)
    known: dict[str, Signal] = {}

    def measure(name: str) -> Signal:
        if name not in known:
            known.update(signals_of(inputs, cache, [name], say=say))
        return known[name]

    arms: dict[str, ArmSettings] = {}
    chosen: Chosen = {}
    for name, arm in recipe.arms.items():
        if not signals_asked_for(Plan.from_settings(arm)):
            arms[name] = arm
            continue
        with at("arms", name):
            arms[name], chosen[name] = resolve_arm_choices(arm, inputs.map, measure)
        for selector, found in chosen[name].items():
            say(f"Arm {name}: '{selector}' is {', '.join(found)}")
    return recipe.model_copy(update={"arms": arms}), chosen


def resolve_arm_choices(
    arm: ArmSettings, model_map: ModelMap, measure: MeasureSignal
) -> tuple[ArmSettings, dict[str, list[str]]]:
    """`arm` with every selector that computes replaced, and what each became. Raises `PlanError`."""
    settled = resolve_choices(Plan.from_settings(arm), model_map, measure)
    chosen = {selector: list(found) for selector, found in settled.chosen.items()}
    return _as_settings(arm, settled.plan), chosen


def _as_settings(arm: ArmSettings, plan: Plan) -> ArmSettings:
    changes = tuple(
        ChangeSettings.model_validate({"at": change.at, change.verb: [own.text for own in change.selectors]})
        for change in plan.changes
    )
    return arm.model_copy(
        update={
            "train": None if plan.train is None else tuple(own.text for own in plan.train),
            "freeze": None if plan.freeze is None else tuple(own.text for own in plan.freeze),
            "changes": changes,
            "lora": plan.lora,
        }
    )
