"""Which recipe is recommended? The user's own, with the advised plan and its comparisons, each at its best rate."""

from __future__ import annotations

from dataclasses import replace

from frostline.advisor.advice import Advice
from frostline.advisor.candidates import FULL
from frostline.advisor.race import RUNGS, losses_by_rate
from frostline.advisor.recommendation import Recommendation
from frostline.recipe import RANDOM, ArmSettings, Recipe, WrittenPlan


def recommended_recipe(recipe: Recipe, advice: Advice, recommendation: Recommendation) -> Recipe:
    """The user's recipe with the plan that is recommended, what it was compared with, and each at its best rate."""
    names = [FULL, recommendation.pick.candidate, *([recommendation.control] if recommendation.control else [])]
    best = {name: _best_rate(advice, name) for name in names}
    arms = {}
    for name in names:
        if name in advice.candidates and best[name] is not None:
            wanted = ArmSettings.model_validate(advice.candidates[name].asked)
            if name == recommendation.control:
                wanted = _drawn_anew(wanted, ArmSettings.model_validate(advice.candidates[names[1]].asked))
            arms["advised" if name == recommendation.pick.candidate else name] = wanted.model_copy(
                update={"learning_rate": best[name]}
            )
    return recipe.model_copy(
        update={
            "name": f"{recipe.name[:60]}, as advised",
            "question": "Does the advised plan hold its promise against full training and a random choice of its size?",
            "arms": arms,
            "baseline": FULL if FULL in arms else "advised",
            "save": ("advised",),
            "vary": {},
        }
    )


def _drawn_anew(control: ArmSettings, advised: ArmSettings) -> ArmSettings:
    """The random `control`, drawn anew for each seed, and of the share that the signal of `advised` was asked for.

    One random plan says nothing of the others, in however many seeds it is trained.
    """
    by_signal = [own.choice for own in WrittenPlan.from_settings(advised).selectors if own.choice is not None]
    selectors = WrittenPlan.from_settings(control).selectors
    if control.train is None or len(selectors) != 1 or selectors[0].choice is None:
        return control
    share = by_signal[0].share if len(by_signal) == 1 else selectors[0].choice.share
    return ArmSettings(train=(replace(selectors[0].choice, share=share, signal=RANDOM).text,))


def _best_rate(advice: Advice, name: str) -> float | None:
    rungs = [own.rung for own in advice.trials if own.candidate == name and own.window_losses and own.rung < RUNGS]
    if not rungs:
        return None
    losses = losses_by_rate(advice.trials, max(rungs), name)
    return min(losses, key=losses.__getitem__)
