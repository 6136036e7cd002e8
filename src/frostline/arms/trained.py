"""How many values does a plan train at once, at most, and how many does a run keep beside them?"""

from __future__ import annotations

from collections.abc import Sequence

from frostline.plans import ResolvedPlan, select_from

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
