"""Can the arms of a recipe fit into memory at all? Asked before anything is loaded, and only what is certain refuses.

Whatever else a run needs, an arm holds each weight that it trains in fp32, its gradient, and the two moments of AdamW:
16 bytes; and where norms of weight changes are measured, what is watched of it as it was a step before. How many
weights that are follows from the model's configuration, on a model without memory (torch's meta device). Where names
alone do not tell what a plan trains, nothing is said before the model is there.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch
from transformers import PreTrainedModel

from frostline.arms.trained import FP32_BYTES, trained_values, watched_bytes
from frostline.engine import free_device_bytes, moments_bytes, resolve_device
from frostline.errors import FrostlineError, PlanError, TrainingError
from frostline.free_memory import free_memory_bytes
from frostline.loading import model_without_memory
from frostline.plans import ModelMap, Plan, ResolvedPlan, map_model
from frostline.readable import size
from frostline.recipe import ArmSettings, Recipe

TRAINED_BYTES = 2 * FP32_BYTES
"""Bytes of a weight that trains and its gradient; its moments come on top."""


def free_bytes(device: torch.device) -> int:
    """Bytes of memory that are free on `device`."""
    if device.type == "cuda":
        return free_device_bytes(device)
    return free_memory_bytes()


def require_fitting(recipe: Recipe, cache: Path) -> None:
    """Raise `TrainingError` for an arm of `recipe` that certainly does not fit, naming a plan that might."""
    free = free_bytes(resolve_device(recipe.training.device))
    try:
        model = model_without_memory(recipe.model, cache)
        model_map = map_model(model)
    except FrostlineError:
        return  # told with its reason once the model is loaded
    for name, arm in recipe.arms.items():
        resolved = _resolved(arm, model, model_map)
        if resolved is None:
            continue
        needed = least_bytes(recipe, resolved)
        if needed <= free:
            continue
        raise TrainingError(
            f"the {trained_values(resolved):,} weights that it trains take {size(needed)} with gradients, moments and "
            f"what is watched of them, and {size(free)} of memory are free.",
            _way_out(recipe, model, model_map, free),
        ).at("arms", name)


def least_bytes(recipe: Recipe, resolved: ResolvedPlan) -> int:
    """What an arm holds at the least, alone."""
    trained = trained_values(resolved)
    own = TRAINED_BYTES * trained + moments_bytes(recipe.training, trained)
    if recipe.measures.weight_change_every:
        with suppress(PlanError):  # of a wrong selector it is told once the model is loaded
            own += watched_bytes(resolved, recipe.measures.watch)
    if recipe.training.engine == "fast":
        return own
    return own + FP32_BYTES * max(0, resolved.map.values - trained)  # a copy of the whole model


def _resolved(arm: ArmSettings, model: PreTrainedModel, model_map: ModelMap) -> ResolvedPlan | None:
    """What `arm` trains; None where that is not to be told from its plan and the names of the model."""
    try:
        return Plan.from_settings(arm).resolve(model, model_map)
    except FrostlineError:
        return None


def _way_out(recipe: Recipe, model: PreTrainedModel, model_map: ModelMap, free: int) -> str:
    """The plan of the most layers that fits, as a hint."""
    for layers in range(model_map.layers - 1, 0, -1):
        resolved = _resolved(ArmSettings(train=(f"all@-{layers}:",)), model, model_map)
        if resolved is not None and least_bytes(recipe, resolved) <= free:
            return f"Train less, such as 'all@-{layers}:', or use a machine with more memory."
    return "Train less, such as attention alone or an adapter (lora), or use a smaller model."
