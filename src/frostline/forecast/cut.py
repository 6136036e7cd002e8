"""What is timed in a model's stead? A model of some of its layers, in which the same trains as in the whole.

Layers in which the same roles train are of one kind and cost the same: what one more of a kind takes, taken as often as
there are layers of it, and what is left without them, is what the whole takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from frostline.arms import FewerTokens, Prepared, cut_model, map_of_cut
from frostline.engine import autocast, on_device
from frostline.errors import ModelError
from frostline.out_of_memory import is_out_of_memory
from frostline.plans import PROBE_ERRORS, Plan, Portion, ResolvedPlan
from frostline.recipe import ArmSettings, LoraSettings

Roles = frozenset[str]
"""What trains in a layer, or carries an adapter: layers with equal roles are of one kind."""


@dataclass(frozen=True)
class StepParts:
    """What one pass over a batch costs, without the prefix."""

    pass_seconds: float
    """Seconds of forward and backward."""
    optimizer_seconds: float
    saved_bytes: int
    """What the forward pass keeps for the backward pass, weights aside."""

    def plus(self, other: StepParts, times: float) -> StepParts:
        """This and `times` times `other`."""
        return StepParts(
            self.pass_seconds + times * other.pass_seconds,
            self.optimizer_seconds + times * other.optimizer_seconds,
            round(self.saved_bytes + times * other.saved_bytes),
        )

    def beyond(self, other: StepParts) -> StepParts:
        """What this takes more than `other`, a part of it: on a busy machine that may look like less than nothing."""
        return StepParts(
            max(0.0, self.pass_seconds - other.pass_seconds),
            max(0.0, self.optimizer_seconds - other.optimizer_seconds),
            max(0, self.saved_bytes - other.saved_bytes),
        )


def kinds_of_layers(resolved: ResolvedPlan) -> list[Roles]:
    """For each decoder layer above the prefix, from the bottom: the roles that train in it as the plan begins."""
    portions = resolved.targets if resolved.lora is not None else tuple(resolved.trained.values())
    return [
        frozenset(portion.role for portion in portions if portion.layer == layer)
        for layer in range(resolved.prefix_layers, resolved.layers)
    ]


def require_fewer_layers(prepared: Prepared, rows: int | None) -> None:
    """Raise `ModelError` where the family's code does not run with fewer layers, so that none can be timed."""
    try:
        model = on_device(cut_model(prepared.model, [0], rows), prepared.device)
        with torch.no_grad(), autocast(prepared.precision, prepared.device):
            model(input_ids=torch.tensor([[0, 1]], device=prepared.device), use_cache=False)
    except PROBE_ERRORS as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(
            f"{type(prepared.model).__name__} does not run with fewer layers, which an estimate times "
            f"({type(error).__name__}: {str(error)[:80]}).",
            "Use frostline time, which takes steps of the whole model.",
        ) from error


def cut_prepared(
    prepared: Prepared, name: str, layers: Sequence[int], rows: int | None = None, length: int | None = None
) -> Prepared:
    """`prepared` with the arm `name` alone, on a model of `layers`; what trains in a layer still trains there.

    With `rows` and `length`, with so many embeddings, and so many tokens of a window.
    """
    recipe, resolved = prepared.recipe, prepared.arms[name].resolved
    training = recipe.training.model_copy(update={"accumulation": 1})
    settings = _cut_plan(resolved, layers, rows)
    cut = recipe.model_copy(update={"arms": {name: settings}, "training": training})
    model = on_device(cut_model(prepared.model, layers, rows), prepared.device)
    corpus = prepared.corpus if rows is None and length is None else FewerTokens(prepared.corpus, rows, length)
    plan = Plan.from_settings(settings)
    planned = replace(
        prepared.arms[name], plan=plan, resolved=plan.resolve(model, map_of_cut(resolved.map, model, layers))
    )
    return replace(
        prepared, recipe=cut, model=model, corpus=corpus, arms={name: planned}, planned_by_seed={}, shared=None
    )


def _cut_plan(resolved: ResolvedPlan, layers: Sequence[int], rows: int | None) -> ArmSettings:
    lora = resolved.lora
    portions = resolved.targets if lora is not None else tuple(resolved.trained.values())
    selectors = [
        f"{role}@{index}"
        for index, layer in enumerate(layers)
        for role in sorted({portion.role for portion in portions if portion.layer == layer})
    ]
    around = [portion for portion in portions if portion.layer is None]
    outside = {name for portion in around if not portion.of_rows for name in (portion.parameter, *portion.aliases)}
    selectors += [f"name:{name}" for name in sorted(outside)]
    selectors += _cut_rows([portion for portion in around if portion.of_rows], rows)
    if lora is not None:
        return ArmSettings(lora=LoraSettings(rank=lora.rank, alpha=lora.alpha, targets=tuple(selectors)))
    return ArmSettings(train=tuple(selectors))


def _cut_rows(portions: Sequence[Portion], rows: int | None) -> list[str]:
    """As many rows of the vocabulary as train, whichever: those of the model may not be there in the cut one."""
    trained: dict[tuple[str, int], int] = {}
    for portion in portions:
        kept = portion.shape[0] if rows is None else rows
        trained[portion.role, kept] = trained.get((portion.role, kept), 0) + portion.portion_shape[0]
    return [f"{role}[:{max(1, min(count, kept - 1))}]" for (role, kept), count in trained.items()]
