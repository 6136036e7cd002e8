"""How many values does a plan train at once, at most, and what is kept of them beside?"""

from __future__ import annotations

from collections.abc import Sequence

from frostline.engine import moments_bytes
from frostline.plans import ResolvedPlan, select_from
from frostline.recipe import TrainingSettings

FP32_BYTES = 4


def trained_values(resolved: ResolvedPlan) -> int:
    """Weights that train at once, at most."""
    if resolved.lora is not None:
        return resolved.trained_values
    return max(sum(p.values for p in resolved.trained_at(phase.at).values()) for phase in resolved.phases)


def watched_bytes(resolved: ResolvedPlan, watch: Sequence[str]) -> int:
    """Bytes of W_(t-1) of what the selectors of `watch` name and the plan ever trains. Raises `PlanError`."""
    trained = {name for phase in resolved.phases for name in phase.trained} | {own.name for own in resolved.targets}
    return FP32_BYTES * sum(own.values for own in select_from(resolved.map, watch) if own.name in trained)


def checkpoint_bytes(training: TrainingSettings, resolved: ResolvedPlan) -> int:
    """Bytes of one checkpoint of an arm: what it has trained, in fp32, and two moments of what trains."""
    return kept_weights_bytes(resolved) + moments_bytes(training, trained_values(resolved))


def kept_weights_bytes(resolved: ResolvedPlan) -> int:
    """Bytes of all that an arm has trained at its end, in fp32."""
    if resolved.lora is not None:
        return FP32_BYTES * resolved.trained_values
    trained = frozenset().union(*(phase.trained for phase in resolved.phases))
    return FP32_BYTES * sum(portion.values for portion in resolved.portions if portion.name in trained)
