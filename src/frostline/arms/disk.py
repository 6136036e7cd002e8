"""How much disk will a run take? Its journal, the checkpoints that exist at once, the trained models that it saves."""

from __future__ import annotations

from frostline.arms.prepared import Prepared
from frostline.arms.trained import FP32_BYTES, checkpoint_bytes, kept_weights_bytes
from frostline.plans import ResolvedPlan
from frostline.recipe import Recipe

JOURNAL_BYTES_OF_A_STEP = 600
JOURNAL_BYTES_OF_A_NORM = 44
"""Bytes of the two numbers for each watched matrix."""


def run_folder_bytes(prepared: Prepared) -> int:
    """What one variant writes into its run folder, at its fullest."""
    recipe = prepared.recipe
    sizes = [checkpoint_bytes(recipe.training, arm.resolved) for arm in prepared.arms.values()]
    together = sum(sizes) if prepared.schedule == "lock-step" else max(sizes)
    kept = recipe.checkpoints.keep + 1  # one more while it is being written
    saved = sum(saved_bytes(recipe, name, arm.resolved) for name, arm in prepared.arms.items())
    return together * kept + saved + journal_bytes(prepared)


def saved_bytes(recipe: Recipe, arm: str, resolved: ResolvedPlan) -> int:
    """Bytes of what is kept of `arm` by `save:`, its model or the trained tensors of every seed; 0 for others."""
    model = saved_model_bytes(resolved) if arm in recipe.saved_models else 0
    return model + (len(recipe.seeds) * kept_weights_bytes(resolved) if arm in recipe.kept_weights else 0)


def saved_model_bytes(resolved: ResolvedPlan) -> int:
    """Bytes of a trained model, in fp32."""
    return FP32_BYTES * resolved.map.values


def journal_bytes(prepared: Prepared) -> int:
    """Bytes of the journal of all replicates."""
    recipe = prepared.recipe
    watched = sum(portion.layer is not None for portion in next(iter(prepared.arms.values())).resolved.portions)
    every = recipe.measures.weight_change_every
    lines = JOURNAL_BYTES_OF_A_STEP + (JOURNAL_BYTES_OF_A_NORM * watched // every if every else 0)
    return sum(arm.steps for arm in prepared.arms.values()) * len(recipe.seeds) * lines
