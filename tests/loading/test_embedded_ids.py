"""Every command that reads a text with a model refuses ids for which the model has no embedding."""

from __future__ import annotations

from pathlib import Path

import pytest

from frostline.arms import prepare
from frostline.errors import ModelError
from frostline.recipe import Variant, load_recipe
from tests.builders.experiments import write_experiment
from tests.builders.models import tiny_model


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The tokenizer has 97 tokens, and the model 90 embeddings; the text has 61 words."""
    path = write_experiment(tmp_path)
    tiny_model("llama", vocab_size=90).save_pretrained(tmp_path / "model")
    return path


def prepared(recipe: Path) -> None:
    prepare(Variant("", load_recipe(recipe)), recipe.parent / "cache", say=lambda _: None)


def test_a_token_that_nothing_reads_needs_no_embedding(recipe: Path) -> None:
    prepared(recipe)


@pytest.mark.parametrize("which", ["corpus", "retention"])
def test_a_token_without_an_embedding_is_told_with_its_id(which: str, recipe: Path) -> None:
    text = (recipe.parent / "text.txt").read_text(encoding="utf-8")
    word = "w92"
    (recipe.parent / "other.txt").write_text(f"{text} {word} {text}", encoding="utf-8")
    other = {"source": "other.txt"}
    if which == "corpus":
        path = write_experiment(recipe.parent, corpus=other)
    else:
        path = write_experiment(recipe.parent, retention=other)
    with pytest.raises(ModelError) as caught:
        prepared(path)
    told = str(caught.value)
    assert "key 'model.source': the token '" in told
    assert " stands in the corpus and has the id 9" in told
    assert ", but the model has 90 embeddings, for ids to 89. Use the model's own tokenizer, or call resize_" in told
