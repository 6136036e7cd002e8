"""The schema that editors read says what reading a recipe says, as far as letters and types can tell."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from frostline.errors import PlanError, RecipeError
from frostline.recipe import CHOOSING_SIGNALS, Recipe, dump_recipe, parse_recipe, parse_selector, recipe_schema
from frostline.recipe.reference import reference_page
from frostline.recipe.roles import LAYERED_ROLES, ROLES
from frostline.recipe.schema import as_text, made_schema
from frostline.recipe.shipped import copy_recipe, schema_text, shipped_recipes
from frostline.recipe.yaml_values import read_yaml
from tests.builders.experiments import write_experiment

SCHEMA: dict[str, Any] = recipe_schema()
VALIDATOR = Draft7Validator(SCHEMA)
ARMS = "arms: {full: {train: all}, freeze: {train: [attn.qkv@50%:]}}\n"


def mistakes(text: str) -> list[str]:
    values, _ = read_yaml(text, "recipe")
    return [error.message for error in VALIDATOR.iter_errors(values)]


@pytest.mark.skipif(version("pydantic") < "2.14", reason="older ones write the same schema in other words")
def test_the_shipped_schema_and_the_page_are_those_of_the_code() -> None:
    assert schema_text() == as_text(made_schema())
    assert Path("docs/recipe.md").read_text(encoding="utf-8") == reference_page()


def test_the_schema_is_one_of_the_draft_that_it_names() -> None:
    Draft7Validator.check_schema(SCHEMA)


def _keys(section: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from section.get("properties", {}).items()
    for below in section.get("definitions", {}).values():
        yield from _keys(below)


def test_every_key_says_what_it_means_and_every_section_stands_on_the_page() -> None:
    silent = [key for key, value in _keys(SCHEMA) if not value.get("description") and "$ref" not in value]
    assert not silent
    page = reference_page()
    for path in ("training.prefix_cache.memory_mb", "arms.NAME.lora.rank", "arms.NAME.changes.at", "primary.measure"):
        assert f"\n| `{path}` |" in page
    assert set(SCHEMA["properties"]) == set(Recipe.model_fields)


@pytest.mark.parametrize("name", [recipe.name for recipe in shipped_recipes()])
def test_shipped_recipes_are_right_by_it_also_with_every_default_written_out(name: str) -> None:
    text = next(recipe.text for recipe in shipped_recipes() if recipe.name == name)
    assert not mistakes(text)
    assert not mistakes(dump_recipe(parse_recipe(text)))


@pytest.mark.parametrize(
    "text",
    [
        ARMS,
        "arms: {a: {train: 'attn@50%:'}, b: {freeze: [mlp@:4, attn@-2:, 'name:*k_proj*', 're:h[.]1']}}\n",
        "arms:\n  a: {train: [top:25% by random-7, bottom:5.5% by snr]}\n  b: {lora: {targets: mlp}}\n",
        f"{ARMS}training: {{learning_rate: best, rates: [1e-4, 3e-4], seconds: 3.5}}\nprimary: C8\n",
        f"{ARMS}primary: {{arm: freeze}}\nretention: none\nvary: {{training.learning_rate: [1e-4, 3e-4]}}\n",
        f"{ARMS}corpus: {{source: a.jsonl, prompt: q, response: a}}\nretention: {{source: embedded}}\n",
        "arms: {a: {train: mlp@3, changes: [{at: 2, thaw: [norm]}], learning_rate: 1e-3}}\nsave: {a: all}\n",
        "arms:\n  a:\n    train:\n    - embed[added]\n    - 'embed[5, 9:20, \"<tool>\"]'\nsave: [a]\n",
    ],
)
def test_what_is_read_is_right_by_it(text: str) -> None:
    assert not mistakes(dump_recipe(parse_recipe(text)))
    assert not mistakes(text)


def test_the_recipe_of_the_tests_is_right_by_it(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()  # as if it were there already
    assert not mistakes(write_experiment(tmp_path).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "text",
    [
        f"{ARMS}trainin: {{steps: 3}}\n",
        f"{ARMS}training: {{stepz: 3}}\n",
        f"{ARMS}training: {{steps: many}}\n",
        f"{ARMS}training: {{steps: 0}}\n",
        f"{ARMS}training: {{steps: 3, seconds: 3}}\n",
        f"{ARMS}training: {{learning_rate: bset}}\n",
        f"{ARMS}training: {{learning_rate: 0}}\n",
        f"{ARMS}training: {{rates: [1e-4]}}\n",
        f"{ARMS}training: {{betas: [0.9]}}\n",
        f"{ARMS}training: {{precision: fp16}}\n",
        f"{ARMS}training: {{compile: 'yes'}}\n",
        f"{ARMS}seeds: []\n",
        f"{ARMS}seeds: [1, 1]\n",
        f"{ARMS}seeds: 3\n",
        f"{ARMS}primary: C13\n",
        f"{ARMS}primary: {{arm: freeze, measure: loss}}\n",
        f"{ARMS}retention: sample\n",
        f"{ARMS}vary: {{training.steps: [1, 2]}}\n",
        f"{ARMS}vary: {{corpus.tokens: [5]}}\n",
        f"{ARMS}corpus: {{prompt: q}}\n",
        f"{ARMS}corpus: {{source: 'https://x.org/a.txt'}}\n",
        f"{ARMS}corpus: {{source: 'http://x.org/a.txt', sha256: ab}}\n",
        "arms: {}\n",
        "name: x\n",
        "arms: {a: {}}\n",
        "arms: {a: {train: all, freeze: mlp}}\n",
        "arms: {a: {train: []}}\n",
        "arms: {a: {train: atn.q}}\n",
        "arms: {a: {train: [head@2:]}}\n",
        "arms: {a: {train: ['mlp[5]']}}\n",
        f"{ARMS}save: {{full: everything}}\n",
        "arms: {a: {train: [mlp@50%]}}\n",
        "arms: {a: {train: [top:5% by fishr]}}\n",
        "arms: {../a: {train: all}}\n",
        "arms: {a: {lora: {rnk: 3}}}\n",
        "arms: {a: {train: all, changes: [{at: 0, thaw: mlp}]}}\n",
        "arms: {a: {train: all, changes: [{at: 1}]}}\n",
    ],
)
def test_what_is_refused_is_wrong_by_it(text: str) -> None:
    with pytest.raises(RecipeError):
        parse_recipe(text)
    assert mistakes(text)


_BOUNDS = st.one_of(st.just(""), st.integers(-99, 99).map(str), st.integers(1, 99).map(lambda share: f"{share}%"))
_SELECTORS = st.one_of(
    st.sampled_from(ROLES),
    st.builds("{}@{}:{}".format, st.sampled_from(LAYERED_ROLES), _BOUNDS, _BOUNDS),
    st.builds("{}@{}".format, st.sampled_from(LAYERED_ROLES), st.integers(-99, 99)),
    st.builds("top:{}% by {}".format, st.integers(1, 100), st.sampled_from((*CHOOSING_SIGNALS, "random", "random-3"))),
    st.builds("name:*{}*".format, st.text("abc._", min_size=1)),
)


@given(_SELECTORS)
def test_a_selector_that_can_be_read_is_right_by_it(text: str) -> None:
    try:
        parse_selector(text)
    except PlanError:  # a slice that is no layers of any model, which a schema cannot tell
        return
    assert not list(VALIDATOR.iter_errors({"arms": {"a": {"train": text}}}))


def test_a_copy_names_the_schema_that_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / ".frostline.schema.json").write_text("of an older version", encoding="utf-8")
    first = copy_recipe("demo", tmp_path).read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=.frostline.schema.json"
    assert (tmp_path / ".frostline.schema.json").read_text(encoding="utf-8") == schema_text()
    assert {path.name for path in tmp_path.iterdir()} == {"demo.yaml", ".frostline.schema.json"}


def test_a_link_that_lies_where_the_schema_is_written_is_not_followed(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine", encoding="utf-8")
    for name in (".frostline.schema.json", ".frostline.schema.json.new"):
        (tmp_path / "recipes").mkdir(exist_ok=True)
        (tmp_path / "recipes" / name).symlink_to(mine)
    copy_recipe("demo", tmp_path / "recipes")
    assert mine.read_text(encoding="utf-8") == "mine"
