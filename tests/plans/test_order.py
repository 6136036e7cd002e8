"""Is it known which families compute attention and MLP side by side?"""

from __future__ import annotations

import pytest
import torch

from frostline.plans.order import BOTTOM, PlaceInOrder, attention_and_mlp_side_by_side, places_of
from frostline.plans.plan import Plan
from tests.builders.models import tiny_model


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        *((family, True) for family in ("gpt_neox", "gptj", "codegen", "falcon", "phi", "cohere")),
        *((family, False) for family in ("llama", "gpt2", "opt", "bloom", "gemma3_text", "phi3", "mixtral", "olmo2")),
    ],
)
def test_the_model_itself_tells_whether_its_branches_run_side_by_side(family: str, expected: bool) -> None:
    model = tiny_model(family, layers=2)
    assert attention_and_mlp_side_by_side(model, Plan.parse("train: all").resolve(model)) is expected


def test_a_setting_of_the_same_family_changes_the_answer() -> None:
    model = tiny_model("gpt_neox", layers=2, use_parallel_residual=False)
    assert not attention_and_mlp_side_by_side(model, Plan.parse("train: all").resolve(model))


def test_looking_leaves_no_trace_in_the_model() -> None:
    model = tiny_model("gpt_neox", layers=2).train()
    tokens = torch.arange(8)[None]
    with torch.no_grad():
        before = model(input_ids=tokens).logits
        random_state = torch.get_rng_state()
        places_of(model, Plan.parse("train: all").resolve(model))
        assert torch.equal(torch.get_rng_state(), random_state)
        assert model.training
        assert torch.equal(model(input_ids=tokens).logits, before)


def test_places_follow_the_forward_pass() -> None:
    model = tiny_model("gpt2", layers=2, tie_word_embeddings=False)
    places = places_of(model, Plan.parse("train: all").resolve(model))
    layer = "transformer.h.1"
    names = ["transformer.wte.weight", "transformer.h.0.mlp.c_proj.weight", f"{layer}.ln_1.weight"]
    names += [f"{layer}.attn.c_attn.weight[attn.k]", f"{layer}.attn.c_proj.weight", f"{layer}.mlp.c_fc.bias"]
    names += [f"{layer}.mlp.c_proj.weight", "transformer.ln_f.weight", "lm_head.weight"]
    path = [places[name] for name in names]
    assert path[0] == BOTTOM
    for index, place in enumerate(path):
        assert [place.comes_before(other) for other in path] == [False] * (index + 1) + [True] * (len(path) - index - 1)


def test_a_place_in_one_branch_comes_before_none_in_the_other() -> None:
    query, down = PlaceInOrder(3, 1.0, "attn"), PlaceInOrder(3, 4.0, "mlp")
    assert not query.comes_before(down)
    assert query.comes_before(PlaceInOrder(4, 1.0, "mlp"))
    assert PlaceInOrder(3, 0.0, "").comes_before(down)
