"""Before another process measures memory on the same GPU, this one holds none of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from frostline.arms import leave_device, prepare, shared_parts
from frostline.measures import state_tensors, tensor_digests
from frostline.recipe import load_recipe, variants_of
from tests.builders.experiments import write_experiment
from tests.builders.gpu import DEVICE, StandInGpu


def test_the_model_goes_to_the_host_and_nothing_else_holds_it(
    tmp_path: Path, gpu: StandInGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    (variant,) = variants_of(load_recipe(write_experiment(tmp_path), ["training.device=cpu"]))
    prepared = prepare(variant, tmp_path / "cache", say=lambda text: None)
    sha256 = prepared.identity.sha256
    moved: list[object] = []
    monkeypatch.setattr(
        "frostline.arms.device_memory.on_device", lambda model, device: moved.append((id(model), str(device)))
    )
    with shared_parts(prepared, None) as sharing:
        left = leave_device(replace(sharing, device=DEVICE))
    assert moved == [(id(prepared.model), "cpu")]
    assert gpu.asked == ["empty the cache"]
    assert left.shared is None
    assert {own.tensor.device.type for own in left.identity.weights.hashed.values()} == {"meta"}
    assert left.identity.sha256 == sha256
    known = tensor_digests(state_tensors(prepared.model), known=left.identity.weights)
    assert known.sha256 == sha256, "what no longer holds the memory is hashed again"


def test_on_a_cpu_everything_stays(tmp_path: Path, gpu: StandInGpu) -> None:
    (variant,) = variants_of(load_recipe(write_experiment(tmp_path), ["training.device=cpu"]))
    prepared = prepare(variant, tmp_path / "cache", say=lambda text: None)
    assert leave_device(prepared) is prepared
    assert next(iter(prepared.identity.weights.hashed.values())).tensor.device == torch.device("cpu")
    assert gpu.asked == []
