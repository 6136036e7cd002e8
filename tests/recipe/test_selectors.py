"""Are selectors read as they are meant, and refused with a helpful sentence otherwise?"""

from __future__ import annotations

import fnmatch
import math
import re
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.errors import PlanError
from frostline.recipe import CHOOSING_SIGNALS, ROLES, Bound, LayerSlice, parse_selector, parse_selectors


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


@pytest.mark.parametrize("text", [":20%", "-1:3", "3:60%", "55%:60%"])
def test_a_slice_without_layers_of_this_model_is_an_error(text: str) -> None:
    with pytest.raises(PlanError, match="none of the model's 4 layers"):
        layers_of(text, 4)


@pytest.mark.parametrize("text", ["2:2", "3:1", ":0", "0:0%", "100%:", "-2:-2", "-2:-4", "50%:50%", "60%:40%:2"])
def test_a_slice_without_layers_of_any_model_is_an_error_without_one(text: str) -> None:
    with pytest.raises(PlanError, match=f"'{text}' is none of the layers of any model"):
        parse_selector(f"attn@{text}")


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
        ("re:" + "a" * 248, "'re:aaaaaaaaaaaaaaaaaaaaaaaaaaa...' is longer than 250 characters."),
        ("attn" * 100_000, "'attnattnattnattnattnattnattnat...' is longer than 250 characters."),
        ("re:*", "no valid REGEX: nothing to repeat"),
        ("re:(a{99}){99}", "repeats more than 1,000 times"),
        ("re:a{99999999}", "repeats more than 1,000 times"),
        ("name:layers[0-9", "'name:layers[0-9' is no valid GLOB: a '[' is not closed. Example: name:*.q_proj.weight"),
        ("name:[]", "a '[' is not closed"),
        ("name:[!]", "a '[' is not closed"),
        ("name:*.[9-0].*", "a range in '[...]' runs backwards"),
        (
            "name:^model",
            "'^' means nothing in it. A GLOB has *, ? and [...]; a regular expression is written re:REGEX.",
        ),
        (r"name:layers\.1", r"'\' means nothing in it"),
        ("name:*.{q,k}_proj.weight", "'{' means nothing in it"),
        ("name:(q|k)_proj", "'(' means nothing in it"),
        ("name:layers]", "']' means nothing in it"),
        ("top:25%", "'top:25%' is not understood. Example: top:25% by gradient-norm"),
        ("top:25% by gradnorm", "there is no signal 'gradnorm'. Did you mean 'gradient-norm'"),
        ("bottom:5% by cka", "'cka' tells nothing about where training pays"),
        ("top:0% by snr", "between 0 % and 100 %"),
        ("top:101% by snr", "between 0 % and 100 %"),
        ("top:5% by random-x", "'x' is no seed. Write 'by random' or 'by random-7'."),
        ("top:5% by randomly", "there is no signal 'randomly'"),
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
slices = st.builds(LayerSlice, bounds, bounds, st.integers(1, 5)).filter(lambda own: not own.empty) | st.integers(
    -50, 50
).map(lambda count: LayerSlice(Bound(Decimal(count)), single=True))


@given(st.sampled_from([role for role in ROLES if role not in ("embed", "head")]), slices)
def test_a_role_with_layers_written_back_reads_the_same(role: str, layers: LayerSlice) -> None:
    selector = parse_selector(f"{role}@{layers.text}")
    assert (selector.pattern, selector.layers) == (role, layers)
    assert parse_selector(selector.text) == selector


@given(bounds, bounds, st.integers(1, 5))
def test_a_slice_is_called_empty_only_if_no_model_has_a_layer_in_it(
    start: Bound | None, stop: Bound | None, step: int
) -> None:
    chosen = LayerSlice(start, stop, step)
    places = [
        range(layers)[
            None if start is None else start.place(layers) : None if stop is None else stop.place(layers) : step
        ]
        for layers in range(1, 120)
    ]
    assert chosen.empty <= (not any(places))


blanks = st.sampled_from(["", " ", "\t"])
layer_texts = st.lists(
    st.sampled_from(["", "0", "06", "-0", "-2", "12", "0%", "33.40%", "100%", "2.5%"]), min_size=1, max_size=3
).map(":".join)
names = st.text(st.sampled_from(list("aq_.019*?[]!-^ \\(){}|$:,\"'@%")), max_size=12)
texts = (
    st.tuples(blanks, st.sampled_from(ROLES), blanks).map("".join)
    | st.tuples(st.sampled_from(ROLES), blanks, layer_texts).map(lambda parts: f"{parts[0]}{parts[1]}@ {parts[2]}")
    | st.tuples(st.sampled_from(["name:", "re:", " re: "]), names, blanks).map("".join)
    | st.builds(
        lambda end, share, blank, signal: f"{end}:{share}{blank}% by {signal}",
        st.sampled_from(["top", "bottom"]),
        st.integers(0, 101) | st.sampled_from(["2.50", "007", "99.999999"]),
        blanks,
        st.sampled_from([*CHOOSING_SIGNALS, "random", "random-", "random-07", "cka", "random-x"]),
    )
    | st.text()
)


@settings(max_examples=500)
@given(texts)
def test_whatever_is_read_as_a_selector_is_written_as_it_is_read(text: str) -> None:
    try:
        selector = parse_selector(text)
    except PlanError:
        return
    assert parse_selector(selector.text) == selector
    assert parse_selector(selector.text).text == selector.text


@given(names)
def test_a_glob_that_is_taken_can_match_a_name(pattern: str) -> None:
    try:
        selector = parse_selector(f"name:{pattern}")
    except PlanError:
        return
    # Each piece stands for a character that is in it: so the name is one that fnmatch matches.
    name = "".join(
        next(letter for letter in LETTERS if fnmatch.fnmatchcase(letter, piece))
        for piece in re.findall(r"\[!?+\]?+[^\]]*\]|.", selector.pattern)
    )
    assert fnmatch.fnmatchcase(name, selector.pattern)


LETTERS = [chr(code) for code in range(32, 127)]


def test_selectors_know_where_they_were_written_and_are_equal_wherever_that_is() -> None:
    first, second = parse_selectors(["attn", "mlp@3"], "train")
    assert (first.keys, second.keys) == (("train", 0), ("train", 1))
    assert second == parse_selector("mlp@3")
    with pytest.raises(PlanError) as caught:
        parse_selectors(["attn", "mpl@3"], "changes", 2, "thaw")
    assert caught.value.keys == ("changes", 2, "thaw", 1)


@pytest.mark.parametrize(
    ("signal", "number"), [("snr", None), ("random", None), ("random-", 0), ("random-0", 0), ("random-12", 12)]
)
def test_a_random_choice_has_a_number_and_one_by_a_signal_has_none(signal: str, number: int | None) -> None:
    choice = parse_selector(f"top:25% by {signal}").choice
    assert choice is not None
    assert choice.random_number == number
