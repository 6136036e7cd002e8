"""Transplants against models put together by hand; both models keep their bytes."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import PreTrainedModel

from frostline.advisor.transplant import exchanged, transplant
from frostline.errors import ModelError
from frostline.measures import evaluate_loss
from frostline.plans import map_model
from tests.builders.models import tiny_model
from tests.builders.samples import CPU, SIX_FAMILIES, random_sample

BATCHES = random_sample(6).batches(3)


def trained(model: PreTrainedModel) -> PreTrainedModel:
    """A copy, a few steps further on the text that is asked about."""
    tuned = copy.deepcopy(model)
    optimizer = torch.optim.SGD(tuned.parameters(), lr=0.3)
    for _ in range(5):
        for batch in BATCHES:
            tokens = torch.from_numpy(batch.input_ids)
            tuned(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return tuned


def loss(model: PreTrainedModel) -> float:
    return evaluate_loss(model, BATCHES, device=CPU, precision="fp32").loss_nats


@pytest.mark.parametrize("family", SIX_FAMILIES)
def test_effects_are_those_of_models_put_together_by_hand(family: str) -> None:
    untouched = tiny_model(family)
    tuned = trained(untouched)
    before = [{name: value.clone() for name, value in m.state_dict().items()} for m in (untouched, tuned)]
    model_map = map_model(untouched)
    found = transplant(untouched, tuned, model_map, lambda: BATCHES, device=CPU, precision="fp32")
    assert found.gain == pytest.approx(loss(untouched) - loss(tuned))
    assert found.gain > 0.1
    assert set(found.layers) == set(found.patched) == {0, 1, 2, 3}
    assert set(found.roles) == {portion.role for portion in model_map.portions}
    mixed, opposite = copy.deepcopy(untouched), copy.deepcopy(tuned)
    theirs, own = dict(tuned.named_parameters()), dict(untouched.named_parameters())
    for portion in model_map.portions:
        if portion.layer == 2:
            mixed.get_parameter(portion.parameter).data.copy_(theirs[portion.parameter].data)
            opposite.get_parameter(portion.parameter).data.copy_(own[portion.parameter].data)
    assert found.layers[2].alone == pytest.approx((loss(untouched) - loss(mixed)) / found.gain, abs=1e-6)
    assert found.layers[2].removed == pytest.approx((loss(opposite) - loss(tuned)) / found.gain, abs=1e-6)
    for model, was in zip((untouched, tuned), before, strict=True):
        assert all(torch.equal(value, was[name]) for name, value in model.state_dict().items())


def test_a_role_in_a_fused_matrix_is_exchanged_alone() -> None:
    untouched = tiny_model("gpt2")
    tuned = trained(untouched)
    model_map = map_model(untouched)
    portions = [portion for portion in model_map.portions if portion.role == "attn.q"]
    name = "transformer.h.1.attn.c_attn.weight"
    with exchanged(untouched, tuned, portions):
        own, theirs = untouched.get_parameter(name), tuned.get_parameter(name)
        assert torch.equal(own[:, :32], theirs[:, :32])
        assert not torch.equal(own[:, 32:], theirs[:, 32:])


def test_a_role_that_did_not_train_has_not_moved_though_its_matrix_has() -> None:
    untouched = tiny_model("gpt2")
    tuned = copy.deepcopy(untouched)
    values = trained(untouched)
    for layer in range(4):
        name = f"transformer.h.{layer}.attn.c_attn.weight"
        tuned.get_parameter(name).data[:, 64:] = values.get_parameter(name).data[:, 64:]
    found = transplant(untouched, tuned, map_model(untouched), lambda: BATCHES, device=CPU, precision="fp32")
    assert {role for role, effect in found.roles.items() if effect.moved} == {"attn.v"}


def test_patching_is_the_tuned_model_below_and_the_untouched_one_above() -> None:
    untouched = tiny_model("llama", tie_word_embeddings=False)
    tuned = trained(untouched)
    found = transplant(untouched, tuned, map_model(untouched), lambda: BATCHES, device=CPU, precision="fp32")
    mixed = copy.deepcopy(untouched)
    for name, value in tuned.named_parameters():
        if "embed_tokens" in name or ".layers.0." in name or ".layers.1." in name:
            mixed.get_parameter(name).data.copy_(value.data)
    assert found.patched[1] == pytest.approx((loss(untouched) - loss(mixed)) / found.gain, abs=1e-6)


def test_a_model_that_has_not_learnt_is_told() -> None:
    model = tiny_model("llama")
    with pytest.raises(ModelError, match="nothing can be divided"):
        transplant(model, copy.deepcopy(model), map_model(model), lambda: BATCHES, device=CPU, precision="fp32")
