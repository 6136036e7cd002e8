"""Does a selector name the parameters that it means, and tell the nearest ones where it means none?"""

from __future__ import annotations

import pytest

from frostline.errors import PlanError
from frostline.plans import map_model, portions_of
from frostline.recipe import parse_selector
from tests.builders.models import tiny_model


def test_a_glob_compares_whole_names_and_a_regex_searches_in_them() -> None:
    model_map = map_model(tiny_model("llama"))
    by_glob = portions_of(parse_selector("name:model.layers.?.self_attn.q_proj.weight"), model_map)
    by_regex = portions_of(parse_selector(r"re:q_proj"), model_map)
    by_role = portions_of(parse_selector("attn.q"), model_map)
    assert by_glob == by_regex == by_role
    with pytest.raises(PlanError, match="matches nothing"):
        portions_of(parse_selector("name:q_proj"), model_map)


def test_a_name_that_matches_nothing_shows_the_nearest_parameter() -> None:
    with pytest.raises(PlanError, match=r"Did you mean '.*self_attn\.q_proj\.weight'"):
        portions_of(parse_selector("name:model.layers.1.self_attention.q_proj.weight"), map_model(tiny_model("llama")))


def test_a_role_that_the_model_lacks_shows_the_roles_that_it_has() -> None:
    with pytest.raises(PlanError) as caught:
        portions_of(parse_selector("mlp.gate"), map_model(tiny_model("gpt2")))
    assert "'mlp.gate' matches nothing in the model. Did you mean" in str(caught.value)
    assert "This model has: all, embed, attn.q, attn.k, attn.v, attn.o, attn, attn.qkv, mlp.up" in str(caught.value)
