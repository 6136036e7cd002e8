"""How much memory does a unit of an experiment take? Counted from configuration and headers alone, to ask for it.

`estimate` measures what a forward pass keeps, which takes a minute; here it is counted on models without memory
(torch's meta device). Nothing is loaded, timed or trained, and no memory that happens to be free is asked about, so
that the answer is the same wherever the question is put.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from frostline.arms import MEGABYTE, MemoryFacts, run_bytes, saved_without_memory, tensor_bytes
from frostline.engine import resolve_precision
from frostline.errors import FrostlineError
from frostline.loading import as_filed_without_memory, in_place_bytes, model_without_memory
from frostline.measures import EVALUATION_WINDOWS
from frostline.plans import ModelMap, Plan, ResolvedPlan, map_model
from frostline.recipe import ArmSettings, ModelSettings, Recipe

PROCESS_BYTES = 650_000_000
"""A process that has loaded every library, Ray's too, and a tokenizer; no weights."""
HEADROOM = 1.15
"""How far a count without a pass may stay below what is used, at the most."""
RESIDENT_SHARE = 0.5
"""Share of a machine's memory from which on the frozen layers of a model are only there while rows are filled."""


@dataclass(frozen=True)
class UnitBytes:
    """Bytes that a unit takes at its fullest, by how its arms train."""

    side_by_side: int
    """All of them at once (`schedule: lock-step`)."""
    one_by_one: int

    def by(self, schedule: str) -> int:
        """By the schedule that was written or settled: `lock-step` or `one-by-one`."""
        return self.side_by_side if schedule == "lock-step" else self.one_by_one


def unit_bytes(recipe: Recipe, arms: Sequence[str], cache: Path, room_bytes: float) -> UnitBytes | None:
    """What a unit of these `arms` of `recipe` takes at its fullest on a CPU with `room_bytes`; None where that cannot
    be counted.

    The base counts unless it is too large to stay. A plan that does not follow from names alone, such as one that a
    signal chooses, is counted as one that trains everything. `recipe` varies nothing.
    """
    try:
        model = model_without_memory(recipe.model, cache)
        filed, model_map = as_filed_without_memory(model, recipe.model, cache), map_model(model)
        judge = _judge(recipe, cache)
    except FrostlineError:
        return None  # told with its reason once the model is loaded
    training, device = recipe.training, torch.device("cpu")
    precision = resolve_precision(training.precision, device)
    resolved = {name: _resolved(recipe.arms[name], model, model_map) for name in arms}
    length = recipe.windows.length
    saved = {name: saved_without_memory(model, own, training, length, precision) for name, own in resolved.items()}
    streamed = in_place_bytes(filed) > RESIDENT_SHARE * room_bytes
    rows = (training.prefix_cache.memory_mb or 0) * MEGABYTE

    def facts(schedule: str) -> MemoryFacts:
        return MemoryFacts(
            recipe=recipe,
            model=filed,
            arms=resolved,
            device=device,
            precision=precision,
            schedule=schedule,
            fills_rows=streamed or training.prefix_cache.fill == "always",
            held_out_windows=EVALUATION_WINDOWS,
            judge=judge,
        )

    left = in_place_bytes(filed) if streamed else 0
    alone = facts("one-by-one")
    beside = 0
    if recipe.measures.memory:  # an arm alone, in a process beside the one that has prepared it
        beside = 2 * PROCESS_BYTES + in_place_bytes(filed) - left
        beside += max(tensor_bytes(alone, own, saved[name]) for name, own in resolved.items())

    def asked(counted: MemoryFacts) -> int:
        run = PROCESS_BYTES + run_bytes(counted, saved, rows).total - left
        return round(HEADROOM * max(run, beside))

    return UnitBytes(asked(facts("lock-step")), asked(alone))


def _judge(recipe: Recipe, cache: Path) -> PreTrainedModel | None:
    settings: ModelSettings | None = recipe.measures.judge
    if settings is None or not recipe.measures.sampling.prompts:
        return None
    return as_filed_without_memory(model_without_memory(settings, cache), settings, cache)


def _resolved(arm: ArmSettings, model: PreTrainedModel, model_map: ModelMap) -> ResolvedPlan:
    try:
        return Plan.from_settings(arm).resolve(model, model_map)
    except FrostlineError:
        return Plan.from_settings(ArmSettings(train=("all",))).resolve(model, model_map)
