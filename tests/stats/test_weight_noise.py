"""What AdamW makes of noise, against AdamW itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frostline.stats.arm_run import ArmRun
from frostline.stats.runs import read_run
from frostline.stats.weight_noise import closed_form, coherence, noise_change, noise_curve
from tests.builders.simulated_run import write_simulated_run

WEIGHTS = 20_000


def simulated(betas: tuple[float, float], steps: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Root mean square of AdamW's update per unit of learning rate on white noise, [steps]."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.zeros(WEIGHTS, requires_grad=True)
    optimizer = torch.optim.AdamW([weights], lr=1e-3, betas=betas, weight_decay=0.0)
    found = []
    for _ in range(steps):
        before = weights.detach().clone()
        weights.grad = torch.randn(WEIGHTS, generator=generator)
        optimizer.step()
        found.append(float((weights.detach() - before).norm()) / 1e-3 / WEIGHTS**0.5)
    return np.array(found)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0.95), (0.8, 0.99), (0.95, 0.999), (0.0, 0.999)])
def test_the_curve_is_what_adamw_makes_of_noise(betas: tuple[float, float]) -> None:
    steps = np.arange(1, 81, dtype=np.float64)
    assert simulated(betas, 80) == pytest.approx(noise_curve(betas, steps), rel=0.02)


def test_the_closed_form_falls_from_one_to_its_floor() -> None:
    curve = closed_form(0.9, np.array([1.0, 2, 3, 4, 1000]))
    assert curve == pytest.approx([1, 0.708, 0.579, 0.503, 0.229], abs=1e-3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ArmRun:
    folder = tmp_path_factory.mktemp("noise")
    return read_run(write_simulated_run(folder / "run", seeds=(0,), steps=30)).variants[0].runs[0, "full"]


def test_gradients_of_noise_have_a_coherence_of_one_whatever_rates_sizes_and_beginnings(run: ArmRun) -> None:
    """Matrices of different size, of which half begin at step 10, under a rate that warms up."""
    betas = (0.9, 0.999)
    steps = tuple(replace(one, learning_rate=1e-4 * (1 + one.step)) for one in run.steps)
    rates = np.array([one.learning_rate for one in steps])
    sizes = np.arange(1, run.changes.shape[1] + 1) * 100.0
    changes = np.zeros_like(run.changes)
    for place, size in enumerate(sizes):
        begins = 0 if place % 2 else 10
        ages = np.arange(1, 31 - begins, dtype=np.float64)
        changes[begins:, place] = rates[begins:] * np.sqrt(size) * noise_curve(betas, ages)
    noisy = replace(run, steps=steps, changes=changes)
    found, values = coherence(noisy, betas)
    assert found.tolist() == list(range(30))
    assert values == pytest.approx(np.ones(30))
    expected = noise_change(noisy, betas)
    assert np.isnan(expected[:10, ::2]).all()
    assert expected[10:] == pytest.approx(changes[10:])


def test_of_adapters_nothing_is_known(run: ArmRun, tmp_path: Path) -> None:
    adapted = replace(run, started=replace(run.started, plan="lora: rank 8, targets [attn.qkv]"))
    assert np.isnan(noise_change(adapted, (0.9, 0.999))).all()
    assert len(coherence(adapted, (0.9, 0.999))[1]) == 0
