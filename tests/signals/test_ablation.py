"""A layer skipped is a layer taken out of the list; a half silenced is a half whose last matrix is zero."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

from frostline.plans import map_model
from frostline.signals.ablation import ablation_signal
from frostline.signals.sample import Sample
from tests.builders.models import FAMILIES, tiny_model
from tests.builders.samples import CPU, random_sample


def loss_of(model: PreTrainedModel, sample: Sample) -> float:
    tokens = torch.from_numpy(np.concatenate([window.input_ids for window in sample.windows]))
    with torch.no_grad():
        logits = model(input_ids=tokens, use_cache=False).logits
    return float(F.cross_entropy(logits[:, :-1].flatten(0, 1).double(), tokens[:, 1:].flatten()))


def test_skipping_and_silencing_are_what_a_direct_rerun_gives() -> None:
    model, sample = tiny_model("llama"), random_sample(6)
    for parameter in model.parameters():  # so large that each layer matters
        parameter.data *= 3
    found = ablation_signal(model, map_model(model), sample, device=CPU, precision="fp32").values
    whole = loss_of(model, sample)
    for layer in range(4):
        shorter = copy.deepcopy(model)
        layers = shorter.get_submodule("model.layers")
        assert isinstance(layers, nn.ModuleList)
        del layers[layer]
        shorter.config.num_hidden_layers = 3
        assert found[(layer, "layer")] == pytest.approx(loss_of(shorter, sample) - whole, abs=1e-5)
        for half, matrix in (("attn", "self_attn.o_proj"), ("mlp", "mlp.down_proj")):
            silenced = copy.deepcopy(model)
            silenced.get_parameter(f"model.layers.{layer}.{matrix}.weight").data.zero_()
            assert found[(layer, half)] == pytest.approx(loss_of(silenced, sample) - whole, abs=1e-5)
    assert max(abs(value) for value in found.values()) > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_do_without_each_layer_and_each_half(family: str) -> None:
    model = tiny_model(family)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = ablation_signal(model, map_model(model), random_sample(4), device=CPU, precision="fp32").values
    assert set(found) == {(layer, half) for layer in range(4) for half in ("layer", "attn", "mlp")}
    assert all(np.isfinite(value) for value in found.values())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
