"""How large is the step now? Linear warm-up, then constant, linear or cosine decay: a pure function of the step."""

from __future__ import annotations

import math

from frostline.recipe import TrainingSettings


def learning_rate_at(step: int, peak: float, training: TrainingSettings) -> float:
    """Learning rate of step `step` (counted from 0), given the arm's `peak`.

    The warm-up reaches the peak with step `warmup`; a decay would reach zero one step after the last.
    """
    if step < training.warmup:
        return peak * (step + 1) / (training.warmup + 1)
    if training.decay == "constant":
        return peak
    done = (step - training.warmup) / max(1, training.steps - training.warmup)
    if training.decay == "linear":
        return peak * (1 - done)
    return peak * 0.5 * (1 + math.cos(math.pi * done))
