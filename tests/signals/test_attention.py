"""Entropy and distance of attention, against heads whose probabilities are known and against a loop in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from frostline.errors import ModelError
from frostline.signals.attention import attention_signals
from tests.builders.families import tiny_of_any_family
from tests.builders.models import FAMILIES, tiny_model
from tests.builders.samples import CPU, random_sample


def test_heads_that_look_everywhere_alike_have_the_largest_entropy_and_half_the_distance() -> None:
    model = tiny_model("llama")
    for layer in range(4):
        model.get_parameter(f"model.layers.{layer}.self_attn.q_proj.weight").data.zero_()
    entropy, distance = attention_signals(model, random_sample(4, length=10), device=CPU, precision="fp32")
    assert len(entropy.heads) == 16
    for value in entropy.heads.values():
        assert value == pytest.approx(np.mean([math.log(seen + 1) for seen in range(10)]), rel=1e-5)
    for value in distance.heads.values():
        assert value == pytest.approx(np.mean([seen / 2 for seen in range(10)]), rel=1e-5)


def test_values_are_those_of_a_loop_over_the_models_own_probabilities() -> None:
    model, sample = tiny_model("gpt2"), random_sample(3)
    entropy, distance = attention_signals(model, sample, device=CPU, precision="fp32")
    model.set_attn_implementation("eager")
    with torch.no_grad():
        shown = [
            model(input_ids=torch.from_numpy(window.input_ids), output_attentions=True).attentions
            for window in sample.windows
        ]
    spread, back = [], []
    for attentions in shown:
        probabilities = attentions[2][0, 1].double().numpy()
        for query, row in enumerate(probabilities):
            spread.append(-sum(p * math.log(p) for p in row if p > 0))
            back.append(sum(p * (query - key) for key, p in enumerate(row)))
    assert entropy.heads[(2, 1)] == pytest.approx(np.mean(spread), rel=1e-5)
    assert distance.heads[(2, 1)] == pytest.approx(np.mean(back), rel=1e-5)
    assert entropy.values[(2, "attn")] == pytest.approx(np.mean([entropy.heads[(2, head)] for head in range(4)]))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_shows_its_attention(family: str) -> None:
    model = tiny_model(family)
    implementation = model.config._attn_implementation
    for signal in attention_signals(model, random_sample(2), device=CPU, precision="fp32"):
        assert len(signal.values) == 4
        assert all(np.isfinite(value) and value >= 0 for value in signal.heads.values())
    assert model.config._attn_implementation == implementation


@pytest.mark.parametrize("family", ["mamba", "rwkv", "recurrent_gemma"])
def test_a_model_without_attention_in_every_layer_says_so(family: str) -> None:
    model = tiny_of_any_family(family)
    assert isinstance(model, PreTrainedModel)
    with pytest.raises(ModelError, match="does not show its attention probabilities"):
        attention_signals(model, random_sample(), device=CPU, precision="fp32")
