"""Which recipe is recommended? The user's own, with the advised plan and its comparisons, each at its best rate."""

from __future__ import annotations

from frostline.advisor.advice import Advice
from frostline.advisor.candidates import FULL
from frostline.advisor.race import Recommendation, losses_by_rate
from frostline.recipe import ArmSettings, Recipe


def recommended_recipe(recipe: Recipe, advice: Advice, recommendation: Recommendation) -> Recipe:
    """The user's recipe with the plan that is recommended, what it was compared with, and each at its best rate."""
    names = [FULL, recommendation.pick.candidate, *([recommendation.control] if recommendation.control else [])]
    best = {name: _best_rate(advice, name) for name in names}
    arms = {}
    for name in names:
        if name in advice.candidates and best[name] is not None:
            wanted = ArmSettings.model_validate(advice.candidates[name].asked)
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


def _best_rate(advice: Advice, name: str) -> float | None:
    rungs = [trial.rung for trial in advice.trials if trial.candidate == name and trial.window_losses]
    if not rungs:
        return None
    losses = losses_by_rate(advice.trials, max(rungs), name)
    return min(losses, key=losses.__getitem__)
