"""Folders that hold something else than a model, and configurations that say what cannot be."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

from frostline.errors import ModelError
from frostline.loading import load_tokenizer, parameter_count
from frostline.recipe import ModelSettings
from tests.builders.models import tiny_model
from tests.loading.folders import change_json, refusal, saved
from tests.loading.test_weight_files import POINTER


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "some/base"}', encoding="utf-8")


def written(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (adapter, "(adapter_config.json), no model of its own. Merge it into its base model 'some/base'"),
        (written("adapter_config.json", "{}"), "Merge it into its base model first"),
        (lambda folder: (folder / "config.json").unlink(), "there is no config.json; it has "),
        (written("config.json", POINTER), "'FOLDER', config.json: it is a Git LFS pointer, not the file itself."),
        (written("config.json", ""), "'FOLDER', config.json: it is not valid JSON (Expecting value"),
        (written("config.json", "[" * 100_000), "'FOLDER', config.json: it is not valid JSON"),
        (written("config.json", "[1]"), "'FOLDER', config.json: it is valid JSON, but no object of names and values."),
        (written("config.json", "{}"), "'FOLDER', config.json: it names no 'model_type'."),
    ],
)  # fmt: skip
def test_a_folder_of_something_else_is_told(damage: Callable[[Path], object], told: str, tmp_path: Path) -> None:
    damage(saved(tmp_path))
    assert told in refusal(tmp_path)


@pytest.mark.parametrize(
    "changed",
    [
        {"hidden_size": "32"},
        {"hidden_size": -32},
        {"hidden_size": 0},
        {"hidden_size": 2**40},
        {"hidden_size": [32]},
        {"num_attention_heads": 0},
        {"num_attention_heads": 5},
        {"num_attention_heads": -4},
        {"num_attention_heads": 2.5},
        {"num_key_value_heads": 3},
        {"num_key_value_heads": 0},
        {"num_hidden_layers": "two"},
        {"num_hidden_layers": -1},
        {"num_hidden_layers": 0},
        {"vocab_size": None, "model_type": "gpt2"},
        {"vocab_size": -1},
        {"vocab_size": 0},
        {"vocab_size": "many"},
        {"rope_parameters": {"rope_type": "spiral", "rope_theta": 10000.0}},
        {"rope_parameters": "default"},
        {"rope_parameters": {"rope_type": "yarn"}},
        {"rope_scaling": {"rope_type": "spiral", "factor": 2.0}},
        {"rope_scaling": {"type": 7}},
        {"hidden_act": "no_such_function"},
        {"hidden_act": 3},
        {"model_type": "no_such_family"},
        {"model_type": 7},
        {"model_type": ["llama"]},
        {"attn_implementation": "flash_attention_2"},
        {"_attn_implementation": "no_such_attention"},
        {"pad_token_id": 500},
        {"rms_norm_eps": "small"},
        {"dtype": "no_such_type"},
        {"torch_dtype": 7},
        {"architectures": 7},
        {"head_dim": 0},
        {"head_dim": 7},
        {"initializer_range": "x"},
        {"tie_word_embeddings": "yes"},
        {"layer_types": ["no_such_layer", "full_attention"]},
        {"quantization_config": 5},
        {"is_encoder_decoder": True},
        {"attention_dropout": 1.5},
        {"text_config": {"vocab_size": 5}},
        {"attention_dropout": -1},
        {"attention_dropout": float("nan")},
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_configuration_that_cannot_be_is_one_sentence_or_harmless(changed: dict[str, object], tmp_path: Path) -> None:
    change_json(saved(tmp_path) / "config.json", **changed)
    told = refusal(tmp_path)
    harmless = {"attn_implementation", "_attn_implementation", "dtype", "torch_dtype", "architectures", "layer_types"}
    harmless |= {"initializer_range", "rope_scaling", "pad_token_id", "tie_word_embeddings", "rope_parameters"}
    assert told or set(changed) <= harmless
    with contextlib.suppress(ModelError):
        parameter_count(ModelSettings(source=str(tmp_path)), tmp_path)


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq", "fp8", "compressed-tensors", "mxfp4", "torchao"])
def test_a_quantised_model_is_refused(method: str, tmp_path: Path) -> None:
    change_json(saved(tmp_path) / "config.json", quantization_config={"quant_method": method, "bits": 4})
    assert f"the weights of 'FOLDER' are quantised ({method}), and training needs them whole." in refusal(tmp_path)


def test_a_model_that_mlx_quantised_is_refused(tmp_path: Path) -> None:
    change_json(saved(tmp_path) / "config.json", quantization={"group_size": 64, "bits": 4})
    assert "the weights of 'FOLDER' are quantised (config.json), and training needs them whole." in refusal(tmp_path)


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    small = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "vocab_size": 97}
    saved(tmp_path / "bart", BartForConditionalGeneration(BartConfig(**small, **heads)))  # type: ignore[arg-type]
    assert "'FOLDER' is an encoder-decoder (bart), not a decoder" in refusal(tmp_path / "bart")
    t5 = T5Config(vocab_size=97, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    saved(tmp_path / "t5", T5ForConditionalGeneration(t5))
    assert "'FOLDER' is an encoder-decoder (t5), not a decoder" in refusal(tmp_path / "t5")


def test_a_model_of_images_is_refused(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    saved(tmp_path, ViTForImageClassification(ViTConfig(**sizes, image_size=32)))  # type: ignore[arg-type]
    told = refusal(tmp_path)
    assert "'FOLDER' is of a kind of which transformers has no causal language model. Give one; of a model that" in told


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("tokenizer.json", POINTER, "tokenizer.json: it is a Git LFS pointer, not the file itself. Run: git lfs pull"),
        ("tokenizer.json", "{", "tokenizer.json: it is not valid JSON"),
        ("tokenizer.json", "[]", "tokenizer.json: it is valid JSON, but no object of names and values"),
        ("tokenizer.json", "{}", "could not be loaded: "),
        ("tokenizer.json", '{"model": {"type": "BPE"}}', "could not be loaded: "),
        ("tokenizer.json", '{"version": "1.0", "model": {"type": "Other"}}', "could not be loaded: "),
        ("tokenizer_config.json", "nothing", "tokenizer_config.json: it is not valid JSON"),
        ("tokenizer_config.json", '{"tokenizer_class": "NoSuchTokenizer"}', ""),
        ("tokenizer_config.json", '{"tokenizer_class": 7}', ""),
        ("tokenizer_config.json", '{"eos_token": 7}', ""),
        ("tokenizer_config.json", '{"model_max_length": "x"}', ""),
        ("special_tokens_map.json", '{"eos_token": {"content": 3}}', ""),
        ("vocab.json", POINTER, "vocab.json: it is a Git LFS pointer"),
    ],
)  # fmt: skip
def test_a_tokenizer_that_cannot_be_read_is_one_sentence(name: str, content: str, told: str, tmp_path: Path) -> None:
    (saved(tmp_path) / name).write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=re.escape(told)) if told else contextlib.suppress(ModelError):
        load_tokenizer(ModelSettings(source=str(tmp_path)), tmp_path)


def test_a_folder_without_a_tokenizer_is_told_what_to_copy(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no tokenizer\.json\. Copy the files of the model's tokenizer there"):
        load_tokenizer(ModelSettings(source=str(tmp_path)), tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_link_to_nothing_is_called_that(name: str, tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("../blobs/0123")
    assert f"'FOLDER', {name}: it is a link, and what it leads to is not there." in refusal(tmp_path)


def test_a_folder_of_checkpoints_names_the_last_one(tmp_path: Path) -> None:
    for number in (100, 200):
        saved(tmp_path / f"checkpoint-{number}")
    os.utime(tmp_path / "checkpoint-100" / "config.json", (1, 1))
    assert refusal(tmp_path).endswith("There is one in its folder 'checkpoint-200': give that.")
    assert refusal(tmp_path / "checkpoint-200") == ""


def test_what_only_config_json_can_have_asked_for_is_told_so(tmp_path: Path) -> None:
    saved(tmp_path)
    change_json(tmp_path / "config.json", rope_parameters={"rope_type": "magic"})
    assert "KeyError 'magic'. Correct config.json" in refusal(tmp_path)
