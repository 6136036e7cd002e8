"""A few layers of a model tell what all of them are, and its first rows what all rows are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from frostline.arms import excerpt
from frostline.arms.excerpt import cut_model, excerpt_of, fewer_tokens, has_large_vocabulary, map_of_cut
from frostline.corpus import NOT_COUNTED, Batch
from frostline.plans import Plan, decoder_stack, map_model, places_of
from tests.builders.families import tiny_of_any_family
from tests.builders.models import VOCABULARY, tiny_model

MAKES = {
    ("llama", 3): 2,
    ("llama", 7): 2,
    ("gpt2", 5): 2,
    ("gpt_neo", 6): 3,
    ("gemma2", 4): 3,
    ("gemma2", 7): 3,
    ("gemma3_text", 7): 3,
    ("mixtral", 4): 2,
    ("deepseek_v3", 4): 3,  # one dense layer, experts above it
    ("deepseek_v3", 6): 3,
}
"""Layers of the excerpt by family and layers of the whole: the first of each kind, and the last."""
ROWS = 24


@pytest.fixture
def large_vocabularies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excerpt, "LARGE_VOCABULARY_VALUES", 1000)
    monkeypatch.setattr(excerpt, "FEW_ROWS", ROWS)


def ids(rows: int = ROWS) -> torch.Tensor:
    return torch.randint(3, rows, (2, 6), generator=torch.Generator().manual_seed(5))


def logits(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=tokens, use_cache=False).logits
    return found


@pytest.mark.parametrize(("family", "layers"), MAKES)
def test_the_map_of_a_few_layers_is_widened_to_that_of_the_whole(family: str, layers: int) -> None:
    model = tiny_model(family, layers=layers)
    found = excerpt_of(model)
    assert found is not None
    assert len(decoder_stack(found.model)[1]) == MAKES[family, layers]
    assert found.map == map_model(model)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "phi", "gemma2", "deepseek_v3"])
def test_every_weight_has_the_place_in_the_order_that_the_whole_gives_it(family: str) -> None:
    model = tiny_model(family, layers=6)
    found = excerpt_of(model)
    assert found is not None
    plan = Plan.parse("train: [all]")
    assert places_of(model, plan.resolve(model, found.map), found.model) == places_of(model, plan.resolve(model))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@pytest.mark.usefixtures("large_vocabularies")
def test_rows_left_out_of_a_vocabulary_are_in_the_map_all_the_same(family: str) -> None:
    model = tiny_model(family, layers=5)
    before = logits(model, ids(VOCABULARY))
    found = excerpt_of(model)
    assert found is not None
    assert found.map == map_model(model)
    assert logits(found.model, ids()).shape[-1] == ROWS
    assert torch.equal(logits(model, ids(VOCABULARY)), before)


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi"])
def test_the_logits_of_the_first_rows_are_those_of_the_whole_head(family: str) -> None:
    model = tiny_model(family)
    cut = cut_model(model, range(4), ROWS)
    torch.testing.assert_close(logits(cut, ids()), logits(model, ids())[..., :ROWS])


def test_a_vocabulary_is_large_only_where_its_rows_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    size = model.get_parameter("model.embed_tokens.weight").numel()
    monkeypatch.setattr(excerpt, "LARGE_VOCABULARY_VALUES", size + 1)
    assert not has_large_vocabulary(model)
    monkeypatch.setattr(excerpt, "LARGE_VOCABULARY_VALUES", size)
    assert has_large_vocabulary(model)
    model.register_parameter("of_each_token", torch.nn.Parameter(torch.zeros(VOCABULARY)))
    assert not has_large_vocabulary(model)


def test_an_excerpt_lies_in_the_memory_of_the_whole_and_leaves_it_alone() -> None:
    model = tiny_model("gemma2", layers=7)
    settings, before = model.config.to_dict(), logits(model, ids())
    places = {value.data_ptr() for value in model.parameters()}
    found = excerpt_of(model)
    assert found is not None
    assert {value.data_ptr() for value in found.model.parameters()} < places
    assert model.config.to_dict() == settings
    assert torch.equal(logits(model, ids()), before)


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral", "deepseek_v3"])
def test_the_map_of_a_cut_model_is_what_its_own_would_be(family: str) -> None:
    model, layers = tiny_model(family, layers=5), [1, 4, 4]
    cut = cut_model(model, layers)
    assert map_of_cut(map_model(model), cut, layers) == map_model(cut)


def test_a_model_of_layers_none_of_which_can_go_has_no_excerpt() -> None:
    assert excerpt_of(tiny_model("llama", layers=2)) is None
    assert excerpt_of(tiny_model("deepseek_v3", layers=3)) is None


def test_tokens_and_windows_left_out_of_a_batch_leave_the_others_as_they_were() -> None:
    tokens = np.arange(24).reshape(3, 8)
    labels = np.where(tokens % 4 == 0, NOT_COUNTED, tokens)
    found = fewer_tokens(Batch(tokens, labels, np.ones_like(tokens), (0, 8, 16), "", (8, 3, 5)), 10, 6, 2)
    assert found.input_ids.tolist() == [[0, 1, 2, 3, 4, 5], [8, 9, 0, 1, 2, 3]]
    assert found.labels.tolist() == [[NOT_COUNTED, 1, 2, 3, NOT_COUNTED, 5], [NOT_COUNTED, 9, 0, 1, NOT_COUNTED, 3]]
    assert found.lengths == (6, 3)
    assert found.attention_mask is not None
    assert found.attention_mask.shape == (2, 6)


def test_a_prompt_without_its_answer_is_learnt_itself() -> None:
    tokens = np.arange(8).reshape(1, 8)
    labels = np.where(tokens < 6, NOT_COUNTED, tokens)
    assert fewer_tokens(Batch(tokens, labels, None, (0,), ""), None, 5).labels.tolist() == [[0, 1, 2, 3, 4]]


def test_layers_that_share_a_weight_are_told_as_the_whole_tells_them() -> None:
    model = tiny_model("llama", layers=5)
    _, stack = decoder_stack(model)
    shared = stack[1].get_submodule("mlp.down_proj")
    stack[3].set_submodule("mlp.down_proj", shared)
    found = excerpt_of(model)
    assert found is None or found.map == map_model(model)


def test_a_model_that_does_not_run_with_fewer_layers_has_no_excerpt() -> None:
    model = tiny_of_any_family("gemma4_text", num_hidden_layers=4)
    if isinstance(model, str):
        pytest.skip(model)
    assert excerpt_of(model) is None


def test_layers_that_read_images_are_not_taken_for_those_that_are_left_of_a_decoder() -> None:
    model = tiny_of_any_family("git", num_hidden_layers=4)  # two layers read images
    if isinstance(model, str):
        pytest.skip(model)
    found = excerpt_of(model)
    assert found is None or found.map == map_model(model)
