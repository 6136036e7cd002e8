"""Arms on tiny models."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from frostline.engine import Arm
from frostline.plans import Plan
from frostline.recipe import TrainingSettings


def make_arm(
    model: PreTrainedModel,
    plan: str = "train: all",
    *,
    name: str = "arm",
    seed: int = 0,
    weight_decay: float = 0.1,
    **training: object,
) -> Arm:
    """An arm in fp32 on the CPU with a learning rate of 1e-2 unless `training` says otherwise."""
    settings = TrainingSettings.model_validate({"steps": 10, "learning_rate": 1e-2, "precision": "fp32", **training})
    assert isinstance(settings.learning_rate, float)
    return Arm(
        name,
        model,
        Plan.parse(plan),
        settings,
        learning_rate=settings.learning_rate,
        weight_decay=weight_decay,
        seed=seed,
        device=torch.device("cpu"),
        precision="bf16" if settings.precision == "bf16" else "fp32",
    )
