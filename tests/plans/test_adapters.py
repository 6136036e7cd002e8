"""Do adapters train, and nothing else, and by the seed alone?"""

from __future__ import annotations

import importlib.util

import pytest
import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import Linear as LoraLinear
from transformers import PreTrainedModel

from frostline.errors import MissingExtraError, PlanError
from frostline.plans.adapters import (
    adapted_modules,
    adapter_delta,
    adapter_modules,
    adapter_scale,
    inject_adapters,
    merge_adapters,
)
from frostline.plans.plan import Plan
from frostline.recipe import LoraSettings
from tests.builders.models import VOCABULARY, tiny_model

LORA = LoraSettings(rank=4)
TOKENS = torch.arange(24).reshape(2, 12) % VOCABULARY
QKV = {
    "llama": [f"model.layers.{layer}.self_attn.{side}_proj" for layer in (2, 3) for side in "qkv"],
    "gpt2": [f"transformer.h.{layer}.attn.c_attn" for layer in (2, 3)],
    "gpt_neox": [f"gpt_neox.layers.{layer}.attention.query_key_value" for layer in (2, 3)],
}
families = pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])


def adapted(family: str, targets: str = "attn.qkv@50%:", seed: int = 0) -> PreTrainedModel:
    model = tiny_model(family)
    modules = adapter_modules(model, Plan.parse(f"lora: rank 4, targets [{targets}]").resolve(model).targets)
    return inject_adapters(model, LORA, modules, seed=seed)


def trainable(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def train_some_steps(model: PreTrainedModel) -> list[float]:
    optimizer = torch.optim.AdamW(trainable(model).values(), lr=0.02, weight_decay=0.1)
    losses = []
    for _ in range(5):
        loss = model(input_ids=TOKENS, labels=TOKENS).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def weights_without_adapters(model: PreTrainedModel) -> dict[str, bytes]:
    return {
        name.replace(".base_layer.", "."): parameter.detach().numpy().tobytes()
        for name, parameter in model.named_parameters()
        if "lora_" not in name
    }


@families
def test_exactly_the_targets_carry_adapters_and_only_adapters_train(family: str) -> None:
    model = adapted(family)
    assert adapted_modules(model) == QKV[family]
    expected = {f"{name}.lora_{side}.default.weight" for name in QKV[family] for side in "AB"}
    assert set(trainable(model)) == expected


@families
def test_the_first_step_sees_the_untouched_model_bit_for_bit(family: str) -> None:
    untouched = tiny_model(family)(input_ids=TOKENS).logits
    logits = adapted(family)(input_ids=TOKENS).logits
    assert torch.equal(logits.view(torch.int32), untouched.view(torch.int32))


@families
def test_training_lowers_the_loss_and_leaves_the_base_byte_identical(family: str) -> None:
    model = adapted(family)
    losses = train_some_steps(model)
    assert losses[-1] < losses[0]
    assert weights_without_adapters(model) == weights_without_adapters(tiny_model(family))


@families
def test_the_seed_alone_decides_the_adapters(family: str) -> None:
    torch.manual_seed(1)
    first = trainable(adapted(family))
    torch.manual_seed(2)
    second = trainable(adapted(family))
    other_seed = trainable(adapted(family, seed=1))
    for name, values in first.items():
        assert torch.equal(values, second[name])
        assert torch.equal(values, other_seed[name]) == ("lora_B" in name)


def test_an_adapter_does_not_depend_on_the_other_targets() -> None:
    few, many = trainable(adapted("llama", "attn.q@3")), trainable(adapted("llama", "attn, mlp"))
    assert few.keys() < many.keys()
    for name, values in few.items():
        assert torch.equal(values, many[name])


def test_injecting_leaves_the_global_random_state_alone() -> None:
    model = tiny_model("gpt2")
    before = torch.get_rng_state()
    inject_adapters(model, LORA, QKV["gpt2"], seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_model_stays_the_object_that_it_was() -> None:
    model = tiny_model("gpt2")
    kind, body = type(model), model.base_model
    assert inject_adapters(model, LORA, QKV["gpt2"], seed=0) is model
    assert type(model) is kind
    assert model.base_model is body


def test_decoding_with_a_cache_gives_the_logits_of_one_pass() -> None:
    model = adapted("llama")
    train_some_steps(model)
    with torch.no_grad():
        whole = model(input_ids=TOKENS).logits
        start = model(input_ids=TOKENS[:, :8], use_cache=True)
        rest = model(input_ids=TOKENS[:, 8:], past_key_values=start.past_key_values).logits
    torch.testing.assert_close(rest, whole[:, 8:])


@families
def test_merging_gives_a_plain_model_that_computes_the_same(family: str) -> None:
    model = adapted(family)
    train_some_steps(model)
    with torch.no_grad():
        logits = model(input_ids=TOKENS).logits
        assert merge_adapters(model) is model
        torch.testing.assert_close(model(input_ids=TOKENS).logits, logits, rtol=1e-4, atol=1e-5)
    assert list(model.state_dict()) == list(tiny_model(family).state_dict())
    assert not hasattr(model, "peft_config")


@families
def test_the_change_of_a_weight_is_what_peft_computes(family: str) -> None:
    model = adapted(family)
    train_some_steps(model)
    for name in adapted_modules(model):
        layer = model.get_submodule(name)
        assert isinstance(layer, LoraLinear)
        torch.testing.assert_close(adapter_delta(model, name), layer.get_delta_weight("default"))


def test_linear_layers_and_transposed_ones_take_adapters_together() -> None:
    model = tiny_model("gpt2", tie_word_embeddings=False)
    modules = ["transformer.h.0.mlp.c_fc", "lm_head"]
    untouched = model(input_ids=TOKENS).logits
    inject_adapters(model, LORA, modules, seed=0)
    assert adapted_modules(model) == modules
    assert torch.equal(model(input_ids=TOKENS).logits, untouched)
    assert train_some_steps(model)[-1] < 5


def test_the_scale_is_two_unless_alpha_says_otherwise() -> None:
    assert adapter_scale(LoraSettings(rank=16)) == 2
    assert adapter_scale(LoraSettings(rank=8, alpha=4)) == 0.5
    model = tiny_model("llama")
    inject_adapters(model, LoraSettings(rank=8, alpha=4), ["model.layers.0.mlp.up_proj"], seed=0)
    layer = model.get_submodule("model.layers.0.mlp.up_proj")
    assert isinstance(layer, LoraLayer)
    assert layer.scaling["default"] == 0.5


def test_a_module_whose_name_ends_like_a_target_gets_no_adapter() -> None:
    model = tiny_model("llama", layers=12)
    inject_adapters(model, LORA, ["model.layers.1.mlp.up_proj"], seed=0)
    assert adapted_modules(model) == ["model.layers.1.mlp.up_proj"]


@pytest.mark.parametrize(
    ("family", "targets", "found"),
    [
        ("gpt2", "attn.q", "'transformer.h.0.attn.c_attn.weight' is a fused matrix, of which attn.q is a part"),
        ("gpt_neox", "attn.v", "'gpt_neox.layers.0.attention.query_key_value.weight' is a fused matrix"),
        ("llama", "norm", "input_layernorm.weight' (norm) cannot carry an adapter"),
        ("llama", "embed", "'model.embed_tokens' (Embedding) cannot carry an adapter"),
        ("mixtral", "mlp", "experts.gate_up_proj' (mlp.gate) cannot carry an adapter"),
        ("gpt2", "bias", "(bias) cannot carry an adapter"),
    ],
)
def test_a_target_that_cannot_carry_an_adapter_is_refused_by_name(family: str, targets: str, found: str) -> None:
    model = tiny_model(family)
    before = list(model.state_dict())
    resolved = Plan.parse("train: " + targets).resolve(model)
    with pytest.raises(PlanError) as error:
        adapter_modules(model, tuple(resolved.trained.values()))
    assert found in str(error.value)
    assert list(model.state_dict()) == before


def test_a_head_tied_to_the_embeddings_is_refused() -> None:
    with pytest.raises(PlanError, match="'lm_head' shares its weight with the embeddings"):
        inject_adapters(tiny_model("gpt2", tie_word_embeddings=True), LORA, ["lm_head"], seed=0)


def test_without_peft_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "frostline\[lora\]"'):
        inject_adapters(tiny_model("llama"), LORA, QKV["llama"], seed=0)
