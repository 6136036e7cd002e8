"""Pairs of arms on tiny models: the plain loop and the fast engine, from the same weights."""

from __future__ import annotations

import copy

import torch
from transformers import PreTrainedModel

from frostline.engine import Arm, FastForward, SharedParts, fit_model
from frostline.engine.frozen_weights import FrozenWeights, copy_for_arm, copy_for_shards
from frostline.engine.prefix_store import PrefixIdentity, PrefixStore
from frostline.plans import AppliedPlan, Plan
from frostline.recipe import TrainingSettings
from tests.builders.batches import random_batch

CPU = torch.device("cpu")


def memory_store() -> PrefixStore:
    """A store of prefixes in memory alone."""
    return PrefixStore(PrefixIdentity("model", "settings"), folder=None, memory_bytes=1 << 28, disk_bytes=0)


def make_pair(
    base: PreTrainedModel,
    plan: str,
    *,
    precision: str = "fp32",
    seed: int = 0,
    store: PrefixStore | None = None,
    keep: bool = True,
    **training: object,
) -> tuple[Arm, Arm]:
    """(the plain loop, the fast engine) on copies of `base`, at a learning rate of 1e-2."""
    parsed = Plan.parse(plan)
    settings = TrainingSettings.model_validate({"steps": 10, "learning_rate": 1e-2, **training})
    return (
        make_plain_arm(copy.deepcopy(base), parsed, settings, precision=precision, seed=seed),
        make_fast_arm(base, parsed, settings, precision=precision, seed=seed, store=store, keep=keep),
    )


def make_plain_arm(
    model: PreTrainedModel, plan: Plan, settings: TrainingSettings, *, precision: str = "fp32", seed: int = 0
) -> Arm:
    """An arm of the plain loop that trains `model` itself."""
    return Arm(
        "plain", model, plan, settings, learning_rate=1e-2, weight_decay=0.1, seed=seed, device=CPU, precision=precision
    )


def make_fast_arm(
    base: PreTrainedModel,
    plan: Plan,
    settings: TrainingSettings,
    *,
    precision: str = "fp32",
    seed: int = 0,
    store: PrefixStore | None = None,
    keep: bool = True,
    frozen: FrozenWeights | None = None,
    fills: bool = False,
    for_shards: bool = False,
) -> Arm:
    """An arm of the fast engine on a copy of `base` that shares what it never trains; all of it, if `for_shards`."""
    resolved = plan.resolve(base)
    depths = tuple(sorted({phase.prefix_layers for phase in resolved.phases} - {0}))
    shared = SharedParts(
        frozen or FrozenWeights(precision), store or memory_store(), depths, keep_base=True, fills=fills
    )

    def fast(applied: AppliedPlan) -> FastForward:
        fitted = fit_model(
            applied, shared, settings, device=CPU, precision=precision, sample=random_batch(99),
            keep_joined=not for_shards,
        )  # fmt: skip
        return FastForward(fitted, shared, settings, keep_rows=keep, device=CPU, precision=precision)

    return Arm(
        "fast",
        copy_for_shards(base) if for_shards else copy_for_arm(base, resolved),
        plan,
        settings,
        learning_rate=1e-2,
        weight_decay=0.1,
        seed=seed,
        device=CPU,
        precision=precision,
        resolved=resolved,
        forward=fast,
    )


def fast_part(arm: Arm) -> FastForward:
    """The engine of a fast arm."""
    assert isinstance(arm.forward, FastForward)
    return arm.forward
