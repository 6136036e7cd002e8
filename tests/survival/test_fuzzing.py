"""Recipes, selectors and tables from strangers: an error message or success, never a traceback, never without end.

`FROSTLINE_CASES` sets how many cases each (150 unless set; `make soak` tries 10,000).
"""

from __future__ import annotations

import json
import os
import string
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from frostline.corpus.read import open_source
from frostline.corpus.tally import Tally
from frostline.errors import CorpusError, FrostlineError, PlanError, RecipeError
from frostline.plans import select
from frostline.recipe import WrittenPlan, dump_recipe, load_recipe, parse_recipe, parse_selector
from frostline.recipe.sources import CorpusSettings
from tests.builders.models import tiny_model

CASES = settings(
    max_examples=int(os.environ.get("FROSTLINE_CASES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
RECIPE = Path(__file__).parents[2] / "src/frostline/recipe/library/demo.yaml"
AWKWARD = [
    "\x00",
    "\ufeff",
    "\u202e",
    "\r",
    "\u2028",
    "🧊",
    "é",
    "'",
    '"',
    "\\",
    ",",
    ":",
    "{",
    "[",
    "&",
    "*",
    "!",
    "%",
    "@",
    "#",
    "|",
    ">",
]
TEXT = st.text(alphabet=st.one_of(st.sampled_from(AWKWARD), st.characters()), max_size=60)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), TEXT, st.sampled_from(["all", "attn.qkv@50%:", "embedded"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=8,
)


def paths_in(values: object, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(values, dict):
        return []
    return [(*before, key) for key in values] + [
        path for key in values for path in paths_in(values[key], (*before, key))
    ]


@cache
def demo() -> str:
    return dump_recipe(load_recipe(RECIPE))


@CASES
@given(st.data())
def test_a_recipe_with_anything_anywhere_is_a_recipe_or_one_sentence(data: st.DataObject) -> None:
    values = yaml.safe_load(demo())
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(paths_in(values)))
        section = values
        for key in path[:-1]:
            section = section[key]
            if not isinstance(section, dict):
                break
        if isinstance(section, dict):
            section[path[-1] if data.draw(st.booleans()) else data.draw(TEXT)] = data.draw(VALUES)
    try:
        text = yaml.safe_dump(values)
    except (yaml.YAMLError, ValueError):
        return
    check_recipe(text)


@CASES
@given(st.data())
def test_a_recipe_with_its_text_damaged_is_a_recipe_or_one_sentence(data: st.DataObject) -> None:
    text = demo()
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(text)))
        end = min(len(text), begin + data.draw(st.integers(0, 30)))
        text = text[:begin] + data.draw(TEXT) + text[end:]
    check_recipe(text)


def check_recipe(text: str) -> None:
    with one_sentence(RecipeError):
        recipe = parse_recipe(text)
        assert parse_recipe(dump_recipe(recipe)) == recipe
        for arm in recipe.arms.values():
            plan = WrittenPlan.from_settings(arm)
            assert WrittenPlan.parse(plan.text) == plan


@contextmanager
def one_sentence(kind: type[FrostlineError]) -> Iterator[None]:
    """All may go well in the block; if not, the error is of `kind` and on one line."""
    found = ""
    try:
        yield
    except kind as error:
        found = str(error)
    assert "\n" not in found


@cache
def model() -> PreTrainedModel:
    return tiny_model("llama")


PIECES = st.sampled_from(
    ["attn", "attn.qkv", "mlp", "all", "norm", "@", ":", "%", "50", "-", "2", "0", " ", "name:", "re:", "*", "(", ")",
     "+", "[", "]", "{", "}", "\\w", ".", "?", "|", "^", "$", "(?:", "{9999}", "\\1", "(?<=", "a"]
)  # fmt: skip


@CASES
@given(st.one_of(TEXT, st.lists(PIECES, max_size=12).map("".join)))
def test_any_text_is_a_selector_that_resolves_or_one_sentence(text: str) -> None:
    with one_sentence(PlanError):
        selector = parse_selector(text)
        assert parse_selector(selector.text) == selector
        select(model(), [text])


@pytest.mark.parametrize("pattern", [r"(\w+\.?)+!", r"(.*.*)*\d\d\d\d\d", r"(a|a|b|[a-z._0-9])*x{40}"])
def test_a_pattern_that_would_match_for_ever_is_one_sentence(pattern: str) -> None:
    with pytest.raises(PlanError):
        select(model(), [f"re:{pattern}"])


JSON_LINES = st.one_of(
    st.binary(max_size=80),
    VALUES.map(lambda value: json.dumps(value).encode(errors="surrogatepass")),
    st.fixed_dictionaries({"text": VALUES}).map(lambda row: json.dumps(row).encode(errors="surrogatepass")),
    st.integers(1, 3000).map(lambda depth: b'{"text": ' + b"[" * depth + b"]" * depth + b"}"),
    TEXT.map(lambda text: json.dumps({"text": text}, ensure_ascii=False).encode(errors="surrogatepass")),
)
CSV_LINES = st.one_of(
    st.binary(max_size=80),
    st.lists(TEXT, max_size=4).map(lambda cells: ",".join(cells).encode(errors="surrogatepass")),
    st.lists(TEXT, max_size=4).map(
        lambda cells: ",".join(f'"{cell}"' for cell in cells).encode(errors="surrogatepass")
    ),
)


def check_table(content: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        with one_sentence(CorpusError):
            source = open_source(CorpusSettings(source=str(path)), Path(folder) / "cache")
            "".join(block.text for block in source.blocks(Tally())).encode()


@CASES
@given(st.lists(JSON_LINES, max_size=6), st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\r"]), st.booleans())
def test_any_bytes_are_jsonl_or_one_sentence(lines: list[bytes], line_end: bytes, mark: bool) -> None:
    check_table((b"\xef\xbb\xbf" if mark else b"") + line_end.join(lines), "rows.jsonl")


@CASES
@given(st.lists(CSV_LINES, max_size=6), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.booleans())
def test_any_bytes_are_csv_or_one_sentence(lines: list[bytes], line_end: bytes, headed: bool) -> None:
    check_table((b"text,other" + line_end if headed else b"") + line_end.join(lines), "rows.csv")


@CASES
@given(st.text(alphabet=string.printable, max_size=40), VALUES)
def test_an_override_is_taken_or_one_sentence(key: str, value: object) -> None:
    with one_sentence(RecipeError):
        parse_recipe(demo(), [f"{key}={value}"])
