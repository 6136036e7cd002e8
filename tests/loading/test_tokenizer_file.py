"""Text becomes the tokens of the tokenizer's file, whatever family the model is of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from frostline.loading import load_tokenizer
from frostline.recipe import ModelSettings
from tests.builders.tokenizers import byte_pair_tokenizer, words


def folder_of(tokenizer: PreTrainedTokenizerFast, family: str, folder: Path) -> Path:
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": family}))
    return folder


def whole_words() -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate([*words(list(range(9))).split(), "[UNK]"])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")


@pytest.mark.parametrize("family", ["qwen2", "llama", "gpt2", "gemma"])
@pytest.mark.parametrize("kind", ["words", "bytes"])
def test_tokens_are_those_of_the_file(family: str, kind: str, tmp_path: Path) -> None:
    folder = folder_of(
        whole_words() if kind == "words" else byte_pair_tokenizer("what no vocabulary holds " * 9), family, tmp_path
    )
    text = f"{words([3, 1, 4, 1, 5])} and what no vocabulary holds"
    filed = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    loaded = load_tokenizer(ModelSettings(source=str(folder)), tmp_path / "cache")
    assert loaded(text, add_special_tokens=False)["input_ids"] == filed
