"""The learning rate is a pure function of the step: warm-up, then constant, linear or cosine."""

from __future__ import annotations

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from frostline.engine.learning_rate import learning_rate_at
from frostline.recipe import TrainingSettings


def rates(**settings: object) -> list[float]:
    training = TrainingSettings.model_validate({"steps": 20, **settings})
    return [learning_rate_at(step, 2.0, training) for step in range(training.steps)]


def reference(schedule: object) -> list[float]:
    """What transformers' schedule gives for the 20 steps, peak 2.0, without warm-up."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = schedule(optimizer, num_warmup_steps=0, num_training_steps=20)  # type: ignore[operator]
    found = []
    for _ in range(20):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_constant_rate_is_the_peak_at_every_step() -> None:
    assert rates() == [2.0] * 20


def test_decays_agree_with_transformers() -> None:
    assert rates(decay="linear") == pytest.approx(reference(get_linear_schedule_with_warmup))
    assert rates(decay="cosine") == pytest.approx(reference(get_cosine_schedule_with_warmup))


def test_warm_up_climbs_linearly_and_reaches_the_peak() -> None:
    assert rates(warmup=3)[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])


def test_warm_up_longer_than_the_run_never_divides_by_zero() -> None:
    assert all(0 < rate < 2.0 for rate in rates(warmup=40, decay="cosine"))
