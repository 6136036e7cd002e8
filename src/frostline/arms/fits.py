"""Can the arms of a recipe fit into memory at all? Asked before anything is loaded, and only what is certain refuses.

What an arm trains is certain to the byte: each weight in fp32, its gradient and its moments, and where norms of weight
changes are measured, what is watched of it as it was a step before. The rest (what a step keeps for its backward pass,
loss, evaluation, text, checkpoint) is counted as `run_memory` counts it, on models without memory (torch's meta
device), at its least. Where names alone do not tell what a plan trains, nothing is said before the model is there.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel

from frostline.arms.memory_facts import MemoryFacts
from frostline.arms.run_memory import alone_bytes, least_bytes
from frostline.arms.saved_by_step import saved_without_memory
from frostline.arms.trained import FP32_BYTES, trained_values, watched_bytes
from frostline.corpus import is_running_text
from frostline.engine import free_device_bytes, moments_bytes, resolve_device, resolve_precision
from frostline.errors import FrostlineError, PlanError, TrainingError
from frostline.free_memory import free_memory_bytes
from frostline.loading import as_filed_without_memory, model_without_memory
from frostline.measures import EVALUATION_WINDOWS
from frostline.plans import ModelMap, Plan, ResolvedPlan, map_model
from frostline.readable import size
from frostline.recipe import ArmSettings, Recipe
from frostline.started import is_launched, memory_shares

TRAINED_BYTES = 2 * FP32_BYTES
"""Bytes of a weight that trains and its gradient; its moments come on top."""
FAR_BELOW = 0.25
"""Share of the free memory below which a rough bound is enough of an answer."""
CERTAIN = 0.85
"""Share of a count that is certain: it comes within 15 % of the measured peak (`bench/estimate.py`)."""
SETTINGS: tuple[tuple[str, Mapping[str, object]], ...] = (
    ("training.checkpointing=true", {"checkpointing": True}),
    ("training.batch=1 and more training.accumulation", {"batch": 1}),
    (
        "training.checkpointing=true, training.batch=1 and more training.accumulation",
        {"batch": 1, "checkpointing": True},
    ),
)
"""What needs less memory for the same steps, and how it is said."""


@dataclass(frozen=True)
class _Asked:
    """A recipe, and its model without memory."""

    recipe: Recipe
    model: PreTrainedModel
    """In fp32, so that a pass can be counted."""
    filed: PreTrainedModel
    """Its matrices of the types of its file."""
    map: ModelMap
    device: torch.device
    precision: str

    def with_training(self, changed: Mapping[str, object]) -> _Asked:
        training = self.recipe.training.model_copy(update=changed)
        return replace(self, recipe=self.recipe.model_copy(update={"training": training}))


@dataclass(frozen=True)
class TooLarge:
    """An arm whose peak is forecast to exceed what is free on a device."""

    arm: str
    needed_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class _Need:
    trained: int
    """What is certain to the byte."""
    all: int
    """What is counted, the first included."""

    @property
    def certain(self) -> float:
        return max(self.trained, CERTAIN * self.all)


def free_bytes(device: torch.device) -> int:
    """Bytes of memory that are free on `device`; of the machine's, this process's share (`started.memory_shares`)."""
    if device.type == "cuda":
        return free_device_bytes(device)
    return free_memory_bytes() // memory_shares()


def require_fitting(recipe: Recipe, cache: Path) -> None:
    """Raise `TrainingError` for an arm of `recipe` that certainly does not fit, naming a plan or setting that might."""
    if recipe.training.sharding == "full" and is_launched():
        return  # what each of several processes needs of it is not counted
    device = resolve_device(recipe.training.device)
    free = free_bytes(device)
    asked = _asked(recipe, cache, device, free)
    if asked is None:
        return
    for name, arm in recipe.arms.items():
        resolved = _resolved(asked, arm)
        if resolved is None or (need := _need(asked, resolved)).certain <= free:
            continue
        if need.trained > free:
            needed = (
                f"the {trained_values(resolved):,} weights that it trains take {size(need.trained)} with gradients, "
                "moments and what is watched of them"
            )
        else:
            tokens = f"{recipe.training.batch} x {recipe.windows.length}"
            needed = f"with steps of {tokens} tokens it needs {size(need.all)}"
        raise TrainingError(f"{needed}, and {size(free)} of memory are free.", _way_out(asked, arm, free)).at(
            "arms", name
        )


def too_large(recipe: Recipe, cache: Path) -> TooLarge | None:
    """The first arm of `recipe` that is forecast to fit on no single device of this kind, alone; None where all do.

    An arm of which it is only seen in the model what it trains (a plan that is chosen by a signal) is passed over.
    """
    device = resolve_device(recipe.training.device)
    free = free_bytes(device)
    asked = _asked(recipe, cache, device, free)
    for name, arm in {} if asked is None else recipe.arms.items():
        assert asked is not None
        resolved = _resolved(asked, arm)
        if resolved is not None and (needed := _forecast(asked, resolved)) > free:
            return TooLarge(name, needed, free)
    return None


def _asked(recipe: Recipe, cache: Path, device: torch.device, free: int) -> _Asked | None:
    """None where every arm is far from filling what is `free`, or the model is not to be seen before it is loaded."""
    try:
        model = model_without_memory(recipe.model, cache)
        if _at_most(recipe, model) < FAR_BELOW * free:
            return None
        filed, model_map = as_filed_without_memory(model, recipe.model, cache), map_model(model)
    except FrostlineError:
        return None  # told with its reason once the model is loaded
    return _Asked(recipe, model, filed, model_map, device, resolve_precision(recipe.training.precision, device))


def _at_most(recipe: Recipe, model: PreTrainedModel) -> int:
    """Far more than any arm needs: all weights trained and held twice, and what layers, attention and loss keep."""
    config, length = model.config.get_text_config(), recipe.windows.length
    windows = max(recipe.training.batch, EVALUATION_WINDOWS, recipe.measures.sampling.prompts)
    width = 160 * config.hidden_size + 16 * (getattr(config, "num_attention_heads", None) or 1) * length
    vocabulary: int = config.vocab_size
    weights = sum(value.numel() for value in model.parameters())
    kept: int = windows * length * (config.num_hidden_layers * width + 64 * vocabulary)
    return 32 * weights + kept


def arm_bytes(recipe: Recipe, resolved: ResolvedPlan) -> int:
    """What an arm holds at the least, alone, whatever its steps are."""
    trained = trained_values(resolved)
    own = TRAINED_BYTES * trained + moments_bytes(recipe.training, trained)
    if recipe.measures.weight_change_every:
        with suppress(PlanError):  # of a wrong selector it is told once the model is loaded
            own += watched_bytes(resolved, recipe.measures.watch)
    if recipe.training.engine == "fast":
        return own
    return own + FP32_BYTES * max(0, resolved.map.values - trained)  # a copy of the whole model


def _need(asked: _Asked, resolved: ResolvedPlan) -> _Need:
    recipe, training, own = asked.recipe, asked.recipe.training, arm_bytes(asked.recipe, resolved)
    facts = MemoryFacts(
        recipe, asked.filed, {"arm": resolved}, asked.device, asked.precision, "one-by-one", True, held_out_windows=1
    )
    saved = 0
    if is_running_text(recipe.corpus):
        saved = saved_without_memory(asked.model, resolved, training, recipe.windows.length, asked.precision)
    with suppress(PlanError):  # as above
        return _Need(own, max(own, least_bytes(facts, resolved, saved)))
    return _Need(own, own)


def _forecast(asked: _Asked, resolved: ResolvedPlan) -> int:
    """Peak of a run of this arm alone, in windows of the full length."""
    recipe = asked.recipe
    facts = MemoryFacts(
        recipe, asked.filed, {"arm": resolved}, asked.device, asked.precision, "one-by-one", False,
        held_out_windows=EVALUATION_WINDOWS,
    )  # fmt: skip
    saved = saved_without_memory(asked.model, resolved, recipe.training, recipe.windows.length, asked.precision)
    with suppress(PlanError):  # as above
        return alone_bytes(facts, resolved, saved)
    return arm_bytes(recipe, resolved)


def _resolved(asked: _Asked, arm: ArmSettings) -> ResolvedPlan | None:
    """What `arm` trains; None where that is not to be told from its plan and the names of the model."""
    try:
        return Plan.from_settings(arm).resolve(asked.model, asked.map)
    except FrostlineError:
        return None


def _way_out(asked: _Asked, arm: ArmSettings, free: int) -> str:
    """The setting, else the plan of the most layers, that fits, as a hint."""
    for said, changed in SETTINGS:
        if _fits(asked.with_training(changed), arm, free) and asked.model.supports_gradient_checkpointing:
            return f"Use {said}."
    said, changed = SETTINGS[-1]
    for told, fewer in (("", asked), (f" with {said}", asked.with_training(changed))):
        # Fewer layers take less: the first number that does not fit stands after all that do.
        layers = bisect.bisect_left(
            range(1, asked.map.layers), True, key=lambda count: not _fits(fewer, _of_top_layers(count), free)
        )
        if layers:
            return f"Train less, such as '{_top(layers)}'{told}, or use a machine with more memory."
    return "Train less, such as attention alone or an adapter (lora), or use a smaller model."


def _top(layers: int) -> str:
    return f"all@-{layers}:"


def _of_top_layers(layers: int) -> ArmSettings:
    return ArmSettings(train=(_top(layers),))


def _fits(asked: _Asked, arm: ArmSettings, free: int) -> bool:
    resolved = _resolved(asked, arm)
    return resolved is not None and _need(asked, resolved).certain <= free
