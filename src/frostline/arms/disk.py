"""How much disk will a run take? Its journal, the checkpoints that exist at once, the trained models that it saves."""

from __future__ import annotations

from frostline.arms.prepared import Prepared
from frostline.arms.trained import FP32_BYTES, checkpoint_bytes
from frostline.plans import ResolvedPlan

JOURNAL_BYTES_OF_A_STEP = 600
JOURNAL_BYTES_OF_A_NORM = 44
"""Bytes of the two numbers for each watched matrix."""


def run_folder_bytes(prepared: Prepared) -> int:
    """What one variant writes into its run folder, at its fullest."""
    recipe = prepared.recipe
    sizes = [checkpoint_bytes(recipe.training, arm.resolved) for arm in prepared.arms.values()]
    together = sum(sizes) if prepared.schedule == "lock-step" else max(sizes)
    kept = recipe.checkpoints.keep + 1  # one more while it is being written
    models = sum(saved_model_bytes(prepared.arms[name].resolved) for name in recipe.save)
    return together * kept + models + journal_bytes(prepared)


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
