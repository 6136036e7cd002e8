"""Is a look-up in portions the same, forward and backward, and does the engine train rows as the plain loop does?"""

from __future__ import annotations

import copy

import pytest
import torch

from frostline.engine.partly_trained import use_needed_gradients
from frostline.plans import Plan
from tests.builders.engines import make_pair
from tests.builders.models import tiny_model
from tests.engine.test_fast import largest_difference, train_both
from tests.engine.test_partly_trained import gradients, loss_of

ROWS = "train: [embed[0, 7:9, 40:], attn.q@2:]"
CHANGING = "train: [embed[0, 7:9]]; at 2 thaw: [embed[40:], mlp@-1]; at 3 freeze: [embed[7]]"
MODELS = [("llama", True), ("llama", False), ("gpt2", True), ("gemma3_text", True)]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(("family", "tied"), MODELS)
def test_loss_and_gradients_are_those_of_the_joined_matrix_bit_for_bit(family: str, tied: bool, autocast: bool) -> None:
    model = tiny_model(family, tie_word_embeddings=tied)
    plain, needed = (Plan.parse(ROWS).apply(copy.deepcopy(model)) for _ in range(2))
    assert use_needed_gradients(needed.model)
    assert torch.equal(loss_of(plain.model, autocast), loss_of(needed.model, autocast))
    expected, found = gradients(plain, autocast), gradients(needed, autocast)
    assert list(found) == list(expected)
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient), name


def test_no_copy_of_the_embeddings_is_made_for_a_look_up() -> None:
    applied = Plan.parse("train: [embed[7]]").apply(tiny_model("llama"))
    use_needed_gradients(applied.model)
    joined = applied.model.get_submodule("model.embed_tokens.parametrizations.weight.0")
    calls: list[object] = []
    joined.register_forward_hook(lambda *call: calls.append(call))
    loss_of(applied.model).backward()
    assert not calls
    applied.release()
    assert loss_of(applied.model).isfinite()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("family", "tied"), MODELS)
@pytest.mark.parametrize("plan", [ROWS, CHANGING])
def test_the_engine_trains_rows_as_the_plain_loop_does(family: str, tied: bool, plan: str, precision: str) -> None:
    pair = make_pair(tiny_model(family, tie_word_embeddings=tied), plan, precision=precision)
    assert train_both(pair) < 1e-6
    for arm in pair:
        assert arm.applied.verify().moved == ()
        arm.applied.release()
    # A tied head's gradient of one row alone is a product that some processors round otherwise than that of them all.
    few_rows_of_a_product = tied and plan == CHANGING
    assert largest_difference(pair) <= (1e-4 if few_rows_of_a_product else 0)
