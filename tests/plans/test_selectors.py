"""Are selectors read as they are meant, and refused with a helpful sentence otherwise?"""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.errors import PlanError
from frostline.plans import ROLES, map_model, parse_selector
from frostline.plans.selectors import Bound, LayerSlice
from tests.builders.models import tiny_model


def layers_of(text: str, layers: int) -> list[int]:
    selector = parse_selector(f"attn@{text}")
    assert selector.layers is not None
    return list(selector.layers.of(layers))


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("6:", slice(6, None)),
        (":4", slice(None, 4)),
        ("-2:", slice(-2, None)),
        ("2:8", slice(2, 8)),
        ("::2", slice(None, None, 2)),
        ("1:9:3", slice(1, 9, 3)),
        (":", slice(None)),
        ("3", slice(3, 4)),
        ("-1", slice(-1, None)),
        ("-3", slice(-3, -2)),
        (":12", slice(None, 12)),
    ],
)
def test_counted_layers_are_python_slices(text: str, python: slice) -> None:
    assert layers_of(text, 12) == list(range(12))[python]


@given(st.integers(0, 100), st.integers(1, 200))
def test_percent_rounds_down_to_a_whole_layer(percent: int, layers: int) -> None:
    first = math.floor(percent * layers / 100)
    if first < layers:
        assert layers_of(f"{percent}%:", layers) == list(range(first, layers))
    if first > 0:
        assert layers_of(f":{percent}%", layers) == list(range(first))


@given(st.integers(0, 100), st.integers(1, 200))
def test_the_two_sides_of_a_percentage_share_no_layer_and_leave_none_out(percent: int, layers: int) -> None:
    middle = Bound(Decimal(percent), percent=True).place(layers)
    below = list(range(layers))[:middle]
    above = list(range(layers))[middle:]
    assert below + above == list(range(layers))


def test_half_of_thirty_layers_begins_at_layer_fifteen() -> None:
    assert layers_of("50%:", 30) == list(range(15, 30))


def test_a_percentage_may_have_decimals() -> None:
    assert layers_of("33.4%:", 1000)[0] == 334
    assert parse_selector("mlp@33.40%:").text == "mlp@33.4%:"


@pytest.mark.parametrize("text", ["4", "9:", ":5", "-5", "-5:", "4:", ":-5"])
def test_a_layer_out_of_range_is_an_error_that_counts_the_layers(text: str) -> None:
    with pytest.raises(PlanError, match="4 layers"):
        layers_of(text, 4)


@pytest.mark.parametrize("text", ["2:2", "3:1", ":0", "100%:", ":20%"])
def test_a_slice_without_layers_is_an_error(text: str) -> None:
    with pytest.raises(PlanError, match="none of the model's 4 layers"):
        layers_of(text, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("attn.w", "'attn.w' is no role. Did you mean 'attn.v'"),
        ("atn.qkv", "Did you mean 'attn.qkv'"),
        ("", "names no role"),
        ("@3", "names no role"),
        ("xyzzy", "Roles: all, embed"),
        ("embed@3", "'embed' has no layers. Write 'embed' alone."),
        ("head@50%:", "'head' has no layers"),
        ("attn@", "'' is no slice of layers"),
        ("attn@x:", "'x' is no layer"),
        ("attn@1:2:3:4", "no slice of layers"),
        ("attn@::0", "no step"),
        ("attn@::-1", "no step"),
        ("attn@50%", "no single layer. Write '@50%:'"),
        ("attn@150%:", "more than all layers"),
        ("attn@-50%:", "is no layer"),
        ("attn@٣:", "is no layer"),
        ("re:(", "no valid REGEX"),
        ("re:", "needs a REGEX"),
        ("name:", "needs a GLOB"),
        ("re:a\nb", "printable"),
        ("re:" + "a" * 201, "longer than 200"),
    ],
)
def test_a_wrong_selector_is_explained(text: str, message: str) -> None:
    with pytest.raises(PlanError) as caught:
        parse_selector(text)
    assert message in str(caught.value)


bounds = st.one_of(
    st.none(),
    st.integers(-50, 50).map(lambda count: Bound(Decimal(count))),
    st.integers(0, 10000).map(lambda share: Bound((Decimal(share) / 100).normalize(), percent=True)),
)
slices = st.builds(LayerSlice, bounds, bounds, st.integers(1, 5)) | st.integers(-50, 50).map(
    lambda count: LayerSlice(Bound(Decimal(count)), single=True)
)


@given(st.sampled_from([role for role in ROLES if role not in ("embed", "head")]), slices)
def test_a_role_with_layers_written_back_reads_the_same(role: str, layers: LayerSlice) -> None:
    selector = parse_selector(f"{role}@{layers.text}")
    assert (selector.pattern, selector.layers) == (role, layers)
    assert parse_selector(selector.text) == selector


@given(st.text())
def test_any_text_is_a_selector_or_a_plan_error(text: str) -> None:
    try:
        selector = parse_selector(text)
    except PlanError:
        return
    assert parse_selector(selector.text) == selector


def test_a_glob_compares_whole_names_and_a_regex_searches_in_them() -> None:
    model_map = map_model(tiny_model("llama"))
    by_glob = parse_selector("name:model.layers.?.self_attn.q_proj.weight").matches(model_map)
    by_regex = parse_selector(r"re:q_proj").matches(model_map)
    by_role = parse_selector("attn.q").matches(model_map)
    assert by_glob == by_regex == by_role
    with pytest.raises(PlanError, match="matches nothing"):
        parse_selector("name:q_proj").matches(model_map)


def test_a_name_that_matches_nothing_shows_the_nearest_parameter() -> None:
    with pytest.raises(PlanError, match=r"Did you mean '.*self_attn\.q_proj\.weight'"):
        parse_selector("name:model.layers.1.self_attention.q_proj.weight").matches(map_model(tiny_model("llama")))


def test_a_role_that_the_model_lacks_shows_the_roles_that_it_has() -> None:
    with pytest.raises(PlanError) as caught:
        parse_selector("mlp.gate").matches(map_model(tiny_model("gpt2")))
    assert "'mlp.gate' matches nothing in the model. Did you mean" in str(caught.value)
    assert "This model has: all, embed, attn.q, attn.k, attn.v, attn.o, attn, attn.qkv, mlp.up" in str(caught.value)
