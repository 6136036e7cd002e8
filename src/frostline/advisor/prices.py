"""What does any plan cost? A line through the measured cost of a few, over the arithmetic that each needs.

Time = a x forward operations + b x gradient operations + c x trained values + d, all of them zero or more, fitted to
timed steps of reference plans on the whole model. What a forward pass keeps for the backward pass is fitted in the
same way, over the layers above the frost line and the inputs of the matrices that train. Other sizes follow from the
plan.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from frostline.advisor.candidates import exists
from frostline.arms import (
    PlannedArm,
    Prepared,
    make_arm,
    plan_arms,
    shared_parts,
    tensor_bytes,
    trained_values,
)
from frostline.engine import largest_part, moments_bytes, saved_bytes
from frostline.errors import TrainingError
from frostline.out_of_memory import MEMORY_ERRORS, is_out_of_memory
from frostline.plans import PlanCost, ResolvedPlan
from frostline.recipe import ArmSettings

TIMED_STEPS = 3
"""Timed steps of each reference plan, after one that warms up; the least counts."""
REFERENCES: dict[str, tuple[str, ...]] = {
    "everything": ("all",),
    "half": ("all@50%:",),
    "half-qkv": ("attn.qkv@50%:",),
    "attention": ("attn@:",),
    "norms": ("norm",),
}
"""Plans that differ in each of the terms."""


@dataclass(frozen=True)
class Price:
    """What one step of a plan costs."""

    step_seconds: float
    """Seconds of a step with the prefix computed each time."""
    step_seconds_cached: float
    """Seconds of a step with the prefix stored, as in later epochs."""
    peak_bytes: int
    """Peak memory alone in a process: on CPU the resident set, on CUDA the tensors."""
    optimizer_bytes: int


@dataclass(frozen=True)
class PriceModel:
    """Fitted on this machine, for this model, batch and precision."""

    seconds: tuple[float, ...]
    """Seconds of one forward operation, one gradient operation, one trained value; and of what every step takes."""
    kept: tuple[float, ...]
    """Bytes kept by a layer above the frost line, times the input of a trained matrix, and by every pass."""
    base_bytes: int
    """Bytes of a process that holds no weights; 0 where tensors alone are counted."""
    misfit: float
    """Largest error over the reference plans, as a share of the measured time."""


def fit_prices(prepared: Prepared, base_bytes: int, *, say: Callable[[str], None]) -> PriceModel:
    """Time a few plans on the whole model, and fit. Their arms are made and gone one after another.

    One that does not fit into memory is left out; raises `TrainingError` where none does.
    """
    arms = {name: ArmSettings(train=selectors) for name, selectors in _references(prepared).items()}
    settled = with_arms(prepared, arms)
    measured: dict[str, tuple[float, float]] = {}
    with shared_parts(settled, None) as sharing:
        for name in arms:
            say(f"Timing {name}")
            try:
                measured[name] = _measure(sharing, name)
            except MEMORY_ERRORS as error:
                if not is_out_of_memory(error):
                    raise
                say(f"Does not fit into memory: {name}. The others tell its price")
            gc.collect()
    if not measured:
        raise TrainingError(
            "not even the norms can be trained in this memory.", "Use a smaller training.batch or windows.length."
        )
    seconds, kept = zip(*measured.values(), strict=True)
    planned = [settled.arms[name] for name in measured]
    fitted, misfit = _fit([_operations(arm.cost, arm.resolved) for arm in planned], seconds)
    held, _ = _fit([_kept_by(settled, arm.resolved) for arm in planned], kept)
    return PriceModel(fitted, held, base_bytes, misfit)


def _measure(sharing: Prepared, name: str) -> tuple[float, float]:
    """Seconds of a step of the arm `name`, and what one pass of it keeps, in bytes."""
    training = sharing.recipe.training
    batch = sharing.corpus.batch(sharing.recipe.seeds[0], 0, training.batch * training.accumulation)
    arm = make_arm(sharing, sharing.arms[name], sharing.recipe.seeds[0])
    arm.take_step(batch, 0)
    kept = saved_bytes(arm, largest_part(batch, training.accumulation))
    seconds = []
    for step in range(1, TIMED_STEPS + 1):
        # The same windows come again: their prefix is stored, if it is stored at all. It is forgotten each time.
        if sharing.shared is not None:
            sharing.shared.store.keep_only(())
        seconds.append(arm.take_step(batch, step).seconds)
    return min(seconds), float(kept)


def price_of(model: PriceModel, prepared: Prepared, planned: PlannedArm) -> Price:
    """What one step of an arm costs."""
    cost, resolved = planned.cost, planned.resolved
    terms = _operations(cost, resolved)
    prefix = (cost.ceiling_cached - cost.ceiling) * cost.full_step_flops
    step = _times(model.seconds, terms)
    kept = round(_times(model.kept, _kept_by(prepared, resolved)))
    return Price(
        step_seconds=step,
        step_seconds_cached=max(0.0, step - model.seconds[0] * prefix),
        peak_bytes=model.base_bytes + tensor_bytes(prepared.memory_facts, resolved, kept),
        optimizer_bytes=moments_bytes(prepared.recipe.training, trained_values(resolved)),
    )


def with_arms(prepared: Prepared, arms: dict[str, ArmSettings]) -> Prepared:
    """`prepared` with other arms, resolved. Raises `PlanError` naming the arm at fault."""
    recipe = prepared.recipe.model_copy(update={"arms": arms, "baseline": None, "save": ()})
    return replace(
        prepared,
        recipe=recipe,
        arms=plan_arms(recipe, prepared.model, None, prepared.tokenizer),
        planned_by_seed={},
        shared=None,
    )


def _references(prepared: Prepared) -> dict[str, tuple[str, ...]]:
    """Those of `REFERENCES` that name something in the model, which may have no queries, attention or norms."""
    model_map = next(iter(prepared.arms.values())).resolved.map
    found = {
        name: selectors
        for name, selectors in REFERENCES.items()
        if all(exists(selector, model_map) for selector in selectors)
    }
    return found if "norms" in found else {**found, "last layer": ("all@-1:",)}


def _operations(cost: PlanCost, resolved: ResolvedPlan) -> tuple[float, ...]:
    gradients = cost.input_gradient_flops + cost.weight_gradient_flops
    return (cost.forward_flops, gradients, float(trained_values(resolved)), 1.0)


def _kept_by(prepared: Prepared, resolved: ResolvedPlan) -> tuple[float, ...]:
    """Layers above the frost line, values of the inputs of trained matrices, one."""
    portions = resolved.targets if resolved.lora is not None else tuple(resolved.trained.values())
    matrices = [portion for portion in portions if len(portion.shape) >= 2 and portion.layer is not None]
    inputs = sum(min(portion.shape[-2:]) for portion in matrices)
    tokens = prepared.recipe.training.batch * prepared.recipe.windows.length
    return (float(resolved.layers - resolved.prefix_layers), float(tokens * inputs), 1.0)


def _fit(terms: Sequence[tuple[float, ...]], measured: Sequence[float]) -> tuple[tuple[float, ...], float]:
    """Coefficients, none negative, that give `measured` with the least squared relative error; and the largest one."""
    matrix: NDArray[np.float64] = np.array(terms) / np.array(measured)[:, None]
    scale = np.abs(matrix).max(axis=0)
    scale[scale == 0] = 1.0
    found, _ = nnls(matrix / scale, np.ones(len(measured)))
    coefficients = found / scale
    return tuple(coefficients.tolist()), float(np.abs(matrix @ coefficients - 1).max())


def _times(coefficients: tuple[float, ...], terms: tuple[float, ...]) -> float:
    return sum(coefficient * term for coefficient, term in zip(coefficients, terms, strict=True))
