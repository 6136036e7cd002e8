"""Singular values against numpy; tensors streamed from files one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from frostline.errors import ModelError
from frostline.plans import map_model, value_of
from frostline.signals.spectra import signal_to_noise, spectrum_signal, tensors_of
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
def test_streaming_from_files_gives_what_the_model_in_memory_gives(family: str, tmp_path: Path) -> None:
    model = tiny_model(family)
    model_map = map_model(model)
    parameters = dict(model.named_parameters())
    in_memory = spectrum_signal(model_map, parameters.__getitem__)
    if family == "mixtral":
        pytest.skip("transformers stores its experts under other names than it gives them in memory")
    for shard in ("100GB", "20KB"):
        folder = tmp_path / shard
        model.save_pretrained(folder, max_shard_size=shard)
        assert spectrum_signal(model_map, tensors_of(folder)).values == in_memory.values
    assert len(list((tmp_path / "20KB").glob("*.safetensors"))) > 1
    for portion in model_map.portions:
        if portion.role == "attn.k" and portion.layer == 2:
            assert in_memory.values[(2, "attn.k")] == signal_to_noise(value_of(model, portion).detach().float())


def test_a_name_that_the_files_do_not_hold_is_told(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"hold no 'model\.nothing'"):
        tensors_of(tmp_path)("model.nothing")


def test_a_folder_without_weights_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no safetensors weights"):
        tensors_of(tmp_path)
