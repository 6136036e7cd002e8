"""Singular values against numpy; tensors streamed from files one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from frostline.plans import map_model, value_of
from frostline.signals.spectra import signal_to_noise, spectrum_signal
from tests.builders.models import tiny_model
from tests.builders.samples import SIX_FAMILIES


def by_numpy(matrix: NDArray[np.float64]) -> float:
    singular = np.linalg.svd(matrix, compute_uv=False)
    sigma = (np.quantile(singular, 0.75) - np.quantile(singular, 0.25)) / 1.349
    beta = min(matrix.shape) / max(matrix.shape)
    edge = sigma * np.sqrt((1 + np.sqrt(beta)) ** 2)
    return float(singular[singular > edge].sum() / singular[singular <= edge].sum() / singular.max())


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (64, 64)])
def test_the_ratio_is_numpys(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(size=shape) * 3
    noise -= noise.mean()
    spiked = noise + 40 * np.outer(generator.normal(size=shape[0]), generator.normal(size=shape[1])) / 10
    for matrix in (noise, spiked):
        assert signal_to_noise(torch.from_numpy(matrix)) == pytest.approx(by_numpy(matrix), rel=1e-9)


def test_a_matrix_of_zeros_has_no_signal() -> None:
    assert signal_to_noise(torch.zeros(5, 7)) == 0.0


@pytest.mark.parametrize("family", SIX_FAMILIES)
def test_the_signal_of_a_matrix_is_that_of_its_portion(family: str) -> None:
    model = tiny_model(family)
    model_map = map_model(model)
    signal = spectrum_signal(model_map, dict(model.named_parameters()).__getitem__)
    for portion in model_map.portions:
        if portion.role == "attn.k" and portion.layer == 2:
            assert signal.values[(2, "attn.k")] == signal_to_noise(value_of(model, portion).detach().float())
