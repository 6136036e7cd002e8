"""Single roles as plans: the large ones, each alone."""

from __future__ import annotations

import pytest
from transformers import PreTrainedModel

from frostline.advisor.candidates import (
    SMALLEST_ROLE,
    adapter_candidates,
    left_out,
    role_candidates,
    spread_candidates,
    usual_candidates,
)
from frostline.plans import Plan, map_model, resolve_plan
from tests.builders.families import tiny_of_any_family
from tests.builders.models import FAMILIES, tiny_model


@pytest.mark.parametrize("family", FAMILIES)
def test_each_role_alone_is_a_plan_that_trains_one_role_in_every_layer(family: str) -> None:
    model = tiny_model(family)
    found = role_candidates(map_model(model))
    assert found
    for candidate in found:
        trained = resolve_plan(Plan.from_settings(candidate.arm), model).trained.values()
        assert {portion.role for portion in trained} == {candidate.name}
        assert all(portion.layer is not None for portion in trained)


def test_small_roles_are_left_out() -> None:
    model = tiny_model("llama")
    layers = {name: own.numel() for name, own in model.named_parameters() if ".layers." in name and own.ndim == 2}
    of_key = sum(size for name, size in layers.items() if "k_proj" in name)
    is_large = of_key >= SMALLEST_ROLE * sum(layers.values())
    assert ("attn.k" in {own.name for own in role_candidates(map_model(model))}) == is_large
    wide = tiny_model("llama", intermediate_size=4096)
    assert {own.name for own in role_candidates(map_model(wide))} == {"mlp.gate", "mlp.up", "mlp.down"}


@pytest.mark.parametrize("family", [*FAMILIES, "mamba", "rwkv"])
def test_every_usual_plan_fits_the_model_and_what_does_not_is_told(family: str) -> None:
    model = tiny_model(family) if family in FAMILIES else tiny_of_any_family(family)
    assert isinstance(model, PreTrainedModel)
    model_map = map_model(model)
    usual = [*usual_candidates(model_map), *adapter_candidates(model_map)]
    for candidate in usual:
        resolve_plan(Plan.from_settings(candidate.arm), model)
    told = len([own for own in usual if own.name != "lora-all"]) + len(left_out(model_map))
    assert told == 9 + any(candidate.name == "norms-biases" for candidate in usual) - 1
    assert bool(left_out(model_map)) == (family in ("mamba", "rwkv"))


def test_a_model_without_mlp_and_queries_is_told_what_it_lacks() -> None:
    mamba, rwkv = tiny_of_any_family("mamba"), tiny_of_any_family("rwkv")
    assert isinstance(mamba, PreTrainedModel)
    assert isinstance(rwkv, PreTrainedModel)
    assert "lora (no attn.qkv)" in left_out(map_model(mamba))
    assert {"upper-half (no mlp@50%:)", "mlp (no mlp)"} <= set(left_out(map_model(rwkv)))


@pytest.mark.parametrize(
    ("family", "targets"),
    [
        ("llama", {"attn.q", "attn.k", "attn.v", "attn.o", "mlp.gate", "mlp.up", "mlp.down"}),
        ("gpt2", {"attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down"}),
        ("mixtral", {"attn.q", "attn.k", "attn.v", "attn.o"}),  # stacked experts carry none
    ],
)
def test_adapters_are_raced_on_attention_and_on_all_matrices_that_can_carry_them(
    family: str, targets: set[str]
) -> None:
    model = tiny_model(family)
    found = {own.name: own.arm for own in adapter_candidates(map_model(model))}
    assert set(found) == {"lora", "lora-all"}
    resolved = resolve_plan(Plan.from_settings(found["lora-all"]), model)
    assert {portion.role for portion in resolved.targets} == targets
    assert {portion.layer for portion in resolved.targets} == {0, 1, 2, 3}


def test_smaller_random_choices_than_the_raced_one_tell_how_much_is_enough() -> None:
    assert [own.arm.train for own in spread_candidates(25)] == [
        ("top:5% by random-1",),
        ("top:10% by random-1",),
    ]
    assert not spread_candidates(5)
