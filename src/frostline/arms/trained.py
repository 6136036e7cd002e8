"""How many values does a plan train at once, at most?"""

from __future__ import annotations

from frostline.plans import ResolvedPlan

FP32_BYTES = 4


def trained_values(resolved: ResolvedPlan) -> int:
    """Weights that train at once, at most."""
    if resolved.lora is not None:
        return resolved.trained_values
    return max(sum(p.values for p in resolved.trained_at(phase.at).values()) for phase in resolved.phases)
