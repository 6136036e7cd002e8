"""How does a model come to hold what an arm has trained? From the base and the trained tensors alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

from frostline.arms.make import model_for_arm
from frostline.arms.prepared import PlannedArm, Prepared
from frostline.engine import own_adapted_weights
from frostline.plans import AppliedPlan, merge_adapters


def apply_trained(
    prepared: Prepared, planned: PlannedArm, seed: int, steps: int, weights: Mapping[str, Tensor]
) -> AppliedPlan:
    """The plan of the arm on a model of its own, with what it has trained in `steps` steps, by its name in the arm."""
    model = model_for_arm(prepared, planned, whole=True)
    applied = planned.plan.apply(model, resolved=planned.resolved, seed=seed)
    applied.set_step(steps - 1)
    with torch.no_grad():
        for name, parameter in applied.trained_until(steps - 1):
            parameter.copy_(weights[name])
    own_adapted_weights(model)
    return applied


def ordinary_model(applied: AppliedPlan) -> PreTrainedModel:
    """The model of an arm that trains no more: split matrices are whole again, adapters are merged."""
    applied.release()
    return merge_adapters(applied.model) if applied.plan.lora is not None else applied.model
