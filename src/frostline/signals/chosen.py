"""Which selectors does a signal choose for a recipe? `train: [top:25% by snr]` is resolved once, for all replicates.

`top:25% by random` is drawn anew for each. It holds as many values of each role as the choice of a signal of that
share, where the recipe has one, so that the two differ in where they train alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from frostline.errors import at
from frostline.plans import ModelMap, Plan, portions_of
from frostline.recipe import ArmSettings, ChangeSettings, Recipe
from frostline.signals.choose import (
    Draw,
    MeasureSignal,
    choose_places,
    drawn_for_each_seed,
    resolve_choices,
    signals_asked_for,
)
from frostline.signals.kept import signals_of
from frostline.signals.measure import SignalInputs
from frostline.signals.signal import Place, Signal

Chosen = dict[str, dict[str, list[str]]]
"""For each arm and each of its selectors that computed, the selectors that stand in its place."""


def asks_for_signals(recipe: Recipe) -> bool:
    """Whether any arm has a selector that computes."""
    return any(signals_asked_for(Plan.from_settings(arm)) for arm in recipe.arms.values())


@dataclass(frozen=True)
class RecipeChoices:
    """A recipe without selectors that compute, and what became of them."""

    recipe: Recipe
    """Arms that are drawn anew for each seed are here as the first seed has them."""
    chosen: Chosen
    """What holds for every seed."""
    arms_by_seed: dict[int, dict[str, ArmSettings]]
    """The arms that are drawn anew, for each seed."""
    chosen_by_seed: dict[int, Chosen]
    """What was drawn for each seed."""


def resolve_recipe_choices(
    recipe: Recipe, inputs: SignalInputs, cache: Path, text_sha256: str, *, say: Callable[[str], None]
) -> RecipeChoices:
    """`recipe` with every selector that computes replaced, and what each became. Raises `PlanError` naming the arm.

    Each text, known by its hash, has random choices of its own.
    """
    for name, arm in recipe.arms.items():  # before signals are measured, which takes its time
        with at("arms", name):
            for written in Plan.from_settings(arm).selectors:
                if written.choice is None and written.rows is None:  # of tokens, plans are told later
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
            arms[name], found = resolve_arm_choices(arm, inputs.map, measure)
        chosen |= {name: found} if found else {}
        for selector, selectors in found.items():
            say(f"Arm {name}: '{selector}' is {', '.join(selectors)}")
    anew = {name: arm for name, arm in arms.items() if drawn_for_each_seed(Plan.from_settings(arm))}
    like = _chosen_by_signals(recipe, inputs.map, measure) if anew else {}
    arms_by_seed: dict[int, dict[str, ArmSettings]] = {}
    chosen_by_seed: dict[int, Chosen] = {}
    for seed in recipe.seeds if anew else ():
        arms_by_seed[seed], chosen_by_seed[seed] = {}, {}
        for name, arm in anew.items():
            draw = Draw(seed, f"{name} on {text_sha256}", like)
            with at("arms", name):
                arms_by_seed[seed][name], found = resolve_arm_choices(arm, inputs.map, measure, draw)
            chosen_by_seed[seed][name] = found
            for selector, selectors in found.items():
                say(f"Arm {name}, seed {seed}: '{selector}' is {', '.join(selectors)}")
    arms |= arms_by_seed.get(recipe.seeds[0], {})
    return RecipeChoices(recipe.model_copy(update={"arms": arms}), chosen, arms_by_seed, chosen_by_seed)


def resolve_arm_choices(
    arm: ArmSettings, model_map: ModelMap, measure: MeasureSignal, draw: Draw | None = None
) -> tuple[ArmSettings, dict[str, list[str]]]:
    """`arm` with every selector that computes replaced, and what each became. Raises `PlanError`.

    What is drawn anew for each seed stays as it is written without a `draw`.
    """
    settled = resolve_choices(Plan.from_settings(arm), model_map, measure, draw)
    chosen = {selector: list(found) for selector, found in settled.chosen.items()}
    return _as_settings(arm, settled.plan), chosen


def _chosen_by_signals(recipe: Recipe, model_map: ModelMap, measure: MeasureSignal) -> dict[Decimal, Sequence[Place]]:
    """By share, what a signal has chosen: that of the first arm in the recipe that asks for one."""
    found: dict[Decimal, Sequence[Place]] = {}
    for arm in recipe.arms.values():
        for selector in Plan.from_settings(arm).selectors:
            choice = selector.choice
            if choice is not None and not choice.at_random and choice.share not in found:
                found[choice.share] = choose_places(choice, model_map, measure)
    return found


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
