"""Gradients by autograd, written out by hand here, window by window."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from frostline.plans import map_model
from frostline.signals import gradients
from frostline.signals.gradients import gradient_signals
from frostline.signals.sample import Sample
from tests.builders.models import FAMILIES, tiny_model
from tests.builders.samples import CPU, SIX_FAMILIES, random_sample


def gradients_by_hand(model: PreTrainedModel, sample: Sample) -> list[dict[str, Tensor]]:
    """Of each window's mean loss, by parameter."""
    model = copy.deepcopy(model).eval()
    found = []
    for window in sample.windows:
        model.zero_grad()
        tokens = torch.from_numpy(window.input_ids)
        logits = model(input_ids=tokens, use_cache=False).logits[0, :-1]
        F.cross_entropy(logits, tokens[0, 1:]).backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    return found


@pytest.mark.parametrize("family", SIX_FAMILIES)
def test_norm_product_and_fisher_are_those_of_autograd(family: str) -> None:
    model, sample = tiny_model(family), random_sample()
    model_map = map_model(model)
    norm, product, fisher = gradient_signals(model, model_map, sample, device=CPU, precision="fp32")
    windows = gradients_by_hand(model, sample)
    weights = dict(model.named_parameters())
    for portion in model_map.portions:
        if portion.role not in ("attn.q", "attn.v", "mlp.down"):
            continue
        place = (portion.layer, portion.role)
        own = [portion.view_of(window[portion.parameter]) for window in windows]
        mean = torch.stack(own).mean(0)
        value = portion.view_of(weights[portion.parameter].detach())
        assert norm.values[place] == pytest.approx(float(mean.square().mean().sqrt()), rel=1e-4)
        assert product.values[place] == pytest.approx(float((mean * value).abs().mean()), rel=1e-4)
        assert fisher.values[place] == pytest.approx(float(torch.stack(own).square().mean()), rel=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_place_of_every_family_has_a_value_and_the_model_stays_as_it_was(family: str) -> None:
    model = tiny_model(family).train()
    for index, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(index % 2 == 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    model_map = map_model(model)
    for signal in gradient_signals(model, model_map, random_sample(4), device=CPU, precision="fp32"):
        assert set(signal.values) == {(portion.layer, portion.role) for portion in model_map.portions}
        assert all(value >= 0 for value in signal.values.values())
        assert sum(signal.values.values()) > 0
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [p.requires_grad for p in model.parameters()] == [i % 2 == 0 for i, _ in enumerate(model.parameters())]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize(
    "family", ["llama", "gpt2", "mixtral", "gemma2"] if "gemma2" in FAMILIES else ["llama", "gpt2"]
)
def test_groups_of_parameters_and_few_logits_give_the_signals_of_one_pass(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, sample = tiny_model(family), random_sample(4)
    model_map = map_model(model)
    expected = gradient_signals(model, model_map, sample, device=CPU, precision="fp32")
    largest = max(parameter.numel() for parameter in model.parameters())
    monkeypatch.setattr(gradients, "GROUP_BYTES", 4 * largest)
    assert gradient_signals(model, model_map, sample, device=CPU, precision="fp32") == expected
    monkeypatch.setattr("frostline.measures.head.CHUNK_VALUES", 1)
    for found, whole in zip(
        gradient_signals(model, model_map, sample, device=CPU, precision="fp32"), expected, strict=True
    ):
        assert found.values == pytest.approx(whole.values, rel=1e-3, abs=1e-12)


def test_no_more_gradients_are_held_than_those_of_one_group_and_one_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sample = tiny_model("llama"), random_sample(4)
    largest = max(parameter.numel() for parameter in model.parameters())
    monkeypatch.setattr(gradients, "GROUP_BYTES", 4 * largest)
    held, groups = [], []

    def look(parameter: Tensor) -> None:
        held.append(sum(own.numel() for own in model.parameters() if own.grad is not None))
        groups.append(sum(own.numel() for own in model.parameters() if own.requires_grad))

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(look)  # before those of the signals
    gradient_signals(model, map_model(model), sample, device=CPU, precision="fp32")
    assert 0 < max(held) <= largest
    assert max(groups) <= largest
    assert len(set(groups)) > 1


def test_windows_of_unequal_length_weigh_by_their_tokens() -> None:
    model, sample = tiny_model("llama"), random_sample(4)
    long, short = sample.windows[0], sample.windows[1]
    short.labels[0, 4:] = -100
    norm, _, _ = gradient_signals(model, map_model(model), Sample((long, short)), device=CPU, precision="fp32")
    copied = copy.deepcopy(model)
    total = sum(
        F.cross_entropy(
            copied(input_ids=torch.from_numpy(window.input_ids)).logits[0, :-1],
            torch.from_numpy(window.labels)[0, 1:],
            reduction="sum",
        )
        for window in (long, short)
    )
    (total / (11 + 3)).backward()  # type: ignore[union-attr]  # a tensor, summed from two
    gradient = copied.get_parameter("model.layers.1.mlp.up_proj.weight").grad
    assert gradient is not None
    assert norm.values[(1, "mlp.up")] == pytest.approx(float(gradient.square().mean().sqrt()), rel=1e-4)
