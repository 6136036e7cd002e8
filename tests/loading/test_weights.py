"""What is not in the file, is left out, does not fit, or is no number: each is refused, and what is whole is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaModel,
    PreTrainedModel,
)

from frostline.loading import load_model
from frostline.recipe import ModelSettings
from tests.builders.models import FAMILIES, ROUTER_BIAS_FAMILIES, tiny_model
from tests.loading.folders import Tensors, change_json, change_weights, refusal, saved

EMBEDDINGS = "model.embed_tokens.weight"
Change = Callable[[Tensors], dict[str, Tensor]]


def prefixed(prefix: str) -> Change:
    return lambda weights: {prefix + key: value for key, value in weights.items()}


def without(*parts: str) -> Change:
    return lambda weights: {key: value for key, value in weights.items() if not any(part in key for part in parts)}


def renamed(old: str, new: str) -> Change:
    return lambda weights: {key.replace(old, new): value for key, value in weights.items()}


def with_more(name: str, *shape: int) -> Change:
    return lambda weights: weights | {name: torch.ones(shape)}


def with_value(name: str, value: float) -> Change:
    def change(weights: Tensors) -> dict[str, Tensor]:
        weights[name].view(-1)[3] = value
        return weights

    return change


@pytest.mark.parametrize("family", [*FAMILIES, *ROUTER_BIAS_FAMILIES])
def test_a_complete_folder_is_loaded_as_it_was_saved(family: str, tmp_path: Path) -> None:
    model = tiny_model(family, layers=2)
    model.save_pretrained(tmp_path)
    loaded = load_model(ModelSettings(source=str(tmp_path)), tmp_path).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_any_width_are_cast(dtype: torch.dtype, tmp_path: Path) -> None:
    saved(tmp_path)
    change_weights(tmp_path, lambda weights: {key: value.to(dtype) for key, value in weights.items()})
    loaded = load_model(ModelSettings(source=str(tmp_path)), tmp_path).state_dict()
    for key, value in load_file(tmp_path / "model.safetensors").items():
        assert torch.equal(loaded[key], value.float())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (prefixed("_orig_mod."), f"21 of 21 tensors are not in the file, the first is '{EMBEDDINGS}'"),
        (prefixed("_orig_mod."), f"it has '_orig_mod.{EMBEDDINGS}'. Those are the names of a compiled model"),
        (prefixed("module."), f"it has 'module.{EMBEDDINGS}'. Those are the names of a wrapped model"),
        (prefixed("base_model.model."), "merge them"),
        (prefixed("transformer."), f"it has 'transformer.{EMBEDDINGS}'. Save the whole model"),
        (without("q_proj"), "2 of 21 tensors are not in the file, the first is 'model.layers.0.self_attn"),
        (without("model.norm"), "the file has no 'model.norm.weight'"),
        (without("lm_head"), "the file has no 'lm_head.weight'"),
        (without("lm_head"), "It is a body without its head"),
        (renamed("gate_proj", "gate"), "it has 'model.layers.0.mlp.gate.weight'"),
        (with_more("model.layers.2.mlp.up_proj.weight", 48, 32), "has 'model.layers.2.mlp.up_proj.weight', for"),
        (with_more("model.layers.0.self_attn.q_proj.bias", 32), "has 'model.layers.0.self_attn.q_proj.bias', for"),
        (with_more("score.weight", 1, 32), "the file has 'score.weight', for which the model of config.json has no"),
        (with_value("model.norm.weight", float("nan")), "'model.norm.weight' has values that are not finite"),
        (with_value("lm_head.weight", float("inf")), "'lm_head.weight' has values that are not finite"),
    ],
)  # fmt: skip
def test_weights_that_are_not_the_models_are_refused(change: Change, told: str, tmp_path: Path) -> None:
    change_weights(saved(tmp_path), change)
    assert told in refusal(tmp_path)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"vocab_size": 90}, "config.json says vocab_size 90, the file has 97 rows in"),
        ({"num_hidden_layers": 1}, "and 8 more, for which the model of config.json has no place"),
        ({"num_hidden_layers": 3}, "9 of 30 tensors are not in the file, the first is 'model.layers.2."),
        ({"intermediate_size": 40}, "is 32x48 in the file, and 32x40 by config.json"),
        ({"num_key_value_heads": 4}, "is 16x32 in the file, and 32x32 by config.json"),
        ({"attention_bias": True}, "tensors are not in the file, the first is 'model.layers.0.self_attn."),
        ({"model_type": "mistral", "architectures": None}, ""),
        ({"model_type": "qwen3", "architectures": None}, "are not in the file, the first is 'model.layers.0.self_attn"),
    ],
)  # fmt: skip
def test_a_configuration_of_other_weights_is_refused(changed: dict[str, object], told: str, tmp_path: Path) -> None:
    change_json(saved(tmp_path) / "config.json", **changed)
    assert told in (said := refusal(tmp_path))
    assert bool(said) == bool(told), "families that compute alike may stand for one another"


def test_experts_that_are_missing_or_too_many_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, tiny_model("qwen3_moe", layers=2))
    change_weights(tmp_path, without("layers.1.mlp.experts.3"))
    assert "could not be loaded" in (told := refusal(tmp_path)) or "by config.json" in told
    saved(tmp_path, tiny_model("qwen3_moe", layers=2))
    change_json(tmp_path / "config.json", num_local_experts=3)
    assert "by config.json" in refusal(tmp_path)


def test_a_head_that_the_file_has_although_it_is_tied_must_be_the_embeddings(tmp_path: Path) -> None:
    saved(tmp_path, tiny_model("llama", layers=2, tie_word_embeddings=True))
    assert refusal(tmp_path) == ""
    change_weights(tmp_path, lambda weights: weights | {"lm_head.weight": weights[EMBEDDINGS]})
    assert refusal(tmp_path) == ""
    change_weights(tmp_path, lambda weights: weights | {"lm_head.weight": weights[EMBEDDINGS] + 1})
    assert "'lm_head.weight' is tied to the embeddings by config.json, and the file has other values" in refusal(
        tmp_path
    )


@pytest.mark.parametrize(
    ("family", "name", "shape"),
    [
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq", (4,)),
        ("gpt2", "transformer.h.0.attn.bias", (1, 1, 64, 64)),
        ("gpt2", "transformer.h.0.attn.masked_bias", ()),
        ("gpt_neox", "gpt_neox.layers.0.attention.bias", (1, 1, 64, 64)),
        ("gpt_neox", "gpt_neox.layers.0.attention.rotary_emb.inv_freq", (4,)),
    ],
)
def test_what_older_versions_kept_and_newer_ones_compute_is_no_fault(
    family: str, name: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    saved(tmp_path, tiny_model(family, layers=2))
    change_weights(tmp_path, with_more(name, *shape))
    assert refusal(tmp_path) == ""


def test_names_without_the_prefix_of_the_body_are_known(tmp_path: Path) -> None:
    model = saved(tmp_path, tiny_model("gpt2", layers=2))
    change_weights(model, renamed("transformer.", ""))
    assert refusal(tmp_path) == ""
    change_weights(model, without("h.1.mlp.c_fc.bias"))
    assert "the file has no 'transformer.h.1.mlp.c_fc.bias'" in refusal(tmp_path)


def test_a_body_without_head_is_refused_and_one_whose_head_is_tied_is_whole(tmp_path: Path) -> None:
    config = tiny_model("llama", layers=2).config
    assert isinstance(config, LlamaConfig)
    saved(tmp_path / "untied", LlamaModel(config))
    assert "the file has no 'lm_head.weight'" in (told := refusal(tmp_path / "untied"))
    assert "LlamaModel: give a causal language model" in told
    config.tie_word_embeddings = True
    saved(tmp_path / "tied", LlamaModel(config))
    assert refusal(tmp_path / "tied") == ""


@pytest.mark.parametrize("tied", [True, False])
def test_a_reward_model_is_refused(tied: bool, tmp_path: Path) -> None:
    config = tiny_model("llama", layers=2, tie_word_embeddings=tied, num_labels=1).config
    model: object = AutoModelForSequenceClassification.from_config(config)
    assert isinstance(model, PreTrainedModel)
    saved(tmp_path, model)
    assert "By config.json it is a LlamaForSequenceClassification: give a causal language model." in refusal(tmp_path)


def test_values_are_compared_with_the_file_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path)
    load = AutoModelForCausalLM.from_pretrained

    def forgetful(*arguments: object, **options: object) -> object:
        found: object = load(*arguments, **options)  # type: ignore[arg-type]
        assert isinstance(found, tuple)
        with torch.no_grad():
            found[0].model.layers[1].mlp.up_proj.weight[0, 0] += 1
        return found

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", forgetful)
    assert "'model.layers.1.mlp.up_proj.weight' is not what the file holds once it is loaded" in refusal(tmp_path)


@pytest.mark.parametrize("prefix", ["base_model.model.", ""])
def test_lora_weights_that_were_not_merged_are_named_as_such(prefix: str, tmp_path: Path) -> None:
    matrix = "model.layers.0.self_attn.q_proj"

    def wrapped(weights: Tensors) -> Tensors:
        """What a model that peft has wrapped saves, whole or from inside."""
        weights[f"{matrix}.base_layer.weight"] = weights.pop(f"{matrix}.weight")
        weights[f"{matrix}.lora_A.default.weight"] = torch.ones(2, 32)
        weights[f"{matrix}.lora_B.default.weight"] = torch.zeros(32, 2)
        return {prefix + name: value for name, value in weights.items()}

    saved(tmp_path)
    change_weights(tmp_path, wrapped)
    told = refusal(tmp_path)
    assert "the weights of 'FOLDER': the file holds LoRA weights unmerged, such as '" in told
    assert "merge_and_unload" in told
