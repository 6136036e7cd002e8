"""A value of a recipe is what a person reads there, or it is refused with its line and what to write."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from frostline.errors import RecipeError
from frostline.recipe import Recipe, dump_recipe, parse_recipe, recipe_hash
from frostline.recipe.base import Settings
from frostline.recipe.yaml_values import read_yaml, read_yaml_value, write_yaml

ARMS = "arms:\n  full: {train: all}\n"


def error_of(text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as raised:
        parse_recipe(text, overrides)
    return str(raised.value)


@pytest.mark.parametrize(
    ("written", "way_out"),
    [
        ("010", "Write 10 without zeros before it"),
        ("0o17", "Write 15"),
        ("0x1F", "Write 31"),
        ("0b101", "Write 5"),
        ("1:30", "Write a decimal number"),
        ("190:20:30.15", "Write a decimal number"),
        ("10_00", "Write 1000"),
        ("1_0.5", "Write 10.5"),
    ],
)
def test_a_value_that_other_readers_take_for_another_number_is_refused(written: str, way_out: str) -> None:
    assert error_of(f"{ARMS}training:\n  steps: {written}\n") == (
        f"recipe:4: {written} is one number or another, or none. {way_out}, or '{written}' in quotes if it is a text."
    )
    assert error_of(ARMS, f"windows.length={written}").startswith(f"--set windows.length={written}: {written} is one")


@pytest.mark.parametrize(("written", "value"), [("40", 40), ("+40", 40), ("1_000", 1000), ("12_345_678", 12345678)])
def test_a_whole_number_may_be_grouped_by_thousands(written: str, value: int) -> None:
    assert parse_recipe(f"{ARMS}training: {{steps: {written}}}").training.steps == value


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "y", "n", "Yes", "OFF"])
def test_words_for_yes_and_no_are_words(word: str) -> None:
    recipe = parse_recipe(f"arms:\n  {word}: {{train: all}}\n  b: {{train: attn}}\nbaseline: {word}\nsave: [{word}]\n")
    assert recipe.baseline_arm == word
    assert recipe.save == (word,)
    assert error_of(f"{ARMS}training: {{steps: {word}}}") == (
        f"recipe:3, key 'training.steps': a whole number belongs here, found '{word}'."
    )


@pytest.mark.parametrize("name", ["1", "010", "1.5", "2024-01-01", "true", "1e5", "0x10"])
def test_the_name_of_an_arm_is_what_stands_there(name: str) -> None:
    recipe = parse_recipe(f"arms:\n  {name}: {{train: all}}\n")
    assert list(recipe.arms) == [name]
    assert list(parse_recipe(dump_recipe(recipe)).arms) == [name]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("training: {compile: yes}", "'training.compile': true or false belongs here, found 'yes'. Write true."),
        ("training: {compile: 0}", "'training.compile': true or false belongs here, found 0. Write false."),
        (
            "training: {gradient_clipping: off}",
            "'training.gradient_clipping': a number belongs here, found 'off'. Write null for none.",
        ),
        ("training: {steps: true}", "'training.steps': a whole number belongs here, found true."),
        ("training: {steps: 3.0}", "'training.steps': a whole number belongs here, found 3.0."),
        ("training: {steps: '3'}", "'training.steps': a whole number belongs here, found '3'."),
        ("training: {epsilon: .inf}", "'training.epsilon': a finite number belongs here, found .inf."),
        ("training: {betas: [0.9]}", "'training.betas': a value is missing from this list."),
        ("name: 12345", "'name': a text belongs here, found 12345. Write it in quotes: '12345'."),
        ("model: {revision: 1e10}", "'model.revision': a text belongs here, found 10000000000.0. Write it in quotes."),
        ("seeds: 3", "'seeds': a list belongs here, found 3. Write [3]."),
        ("save: full", "'save': a list belongs here, found 'full'. Write [full]."),
        ("save: {full: al}", "'save.full': 'model' or 'all' belongs here, found 'al'. Did you mean 'all'?"),
        (f"seeds: [{2**63}]", f"'seeds': a number of {2**63 - 1} or less belongs here, found {2**63}."),
        (f"seeds: [0, {2**70}]", f"'seeds': a number of {2**63 - 1} or less belongs here, found {2**70}."),
        ("windows: {length: 1e13}", "'windows.length': a whole number belongs here, found 10000000000000.0."),
        ("vary: {model.source: [true, a]}", "'vary.model.source': a text or a number belongs here, found true."),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_told_in_the_words_of_a_recipe(lines: str, sentence: str) -> None:
    assert error_of(f"{ARMS}{lines}\n") == f"recipe:3, key {sentence}"


@pytest.mark.parametrize("tagged", ["!!int '3'", "!!float 3", "!!binary aGk=", "!!set {a}", "!!timestamp 2024-01-01"])
def test_tags_are_refused(tagged: str) -> None:
    message = error_of(f"{ARMS}training: {{steps: {tagged}}}")
    assert message.startswith("recipe:3") or "a whole number belongs here" in message


def test_a_tab_is_told_as_a_tab() -> None:
    assert error_of("arms:\n\tfull: {train: all}\n") == (
        "recipe:2: not valid YAML: a tab stands where blanks belong. Indent with blanks."
    )


def test_a_byte_order_mark_windows_line_ends_anchors_and_merges_are_read() -> None:
    text = "arms:\n  a: &a {train: all, learning_rate: 1e-3}\n  b:\n    <<: *a\n    train: attn\n"
    recipe = parse_recipe("\ufeff" + text.replace("\n", "\r\n"))
    assert recipe.learning_rate_of("b") == 1e-3
    assert recipe.arms["b"].train == ("attn",)


def _fields(settings: type[BaseModel], keys: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Keys of every field of `settings`, those inside its sections included."""
    for name, field in settings.model_fields.items():
        yield (*keys, name)
        kinds = re.findall(r"\w+Settings", str(field.annotation))
        if kinds and name != "arms":
            inner = next(kind for kind in _settings() if kind.__name__ == kinds[0])
            if name != "changes":
                yield from _fields(inner, (*keys, name))


def _settings(base: type[BaseModel] = Settings) -> Iterator[type[BaseModel]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _settings(kind)


@pytest.mark.parametrize("keys", list(_fields(Recipe)), ids=".".join)
def test_no_field_speaks_of_types_of_python(keys: tuple[str, ...]) -> None:
    for value in ("{a: 1}", "[[1]]", "[{}]", "3", "-1", "2.5", "true", "word", "null", ".nan", "[]", "''"):
        try:
            parse_recipe(ARMS, [f"{'.'.join(keys)}={value}"])
        except RecipeError as error:
            message = str(error)
            assert message.startswith("--set ")
            assert not re.search(r"tuple|dict|\[key\]|[Ii]nput should|NoneType|instance|validat|\bstr\b", message)
            assert len(message) < 300


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-10**15, 10**15) | st.floats(allow_nan=False) | st.text(max_size=12)
    | st.from_regex(r"[-+]?[0-9][0-9_:.eExob]{0,8}", fullmatch=True)
    | st.sampled_from(["yes", "no", "on", "~", "<<", "="]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
))  # fmt: skip
def test_what_is_written_reads_back_as_it_was(value: object) -> None:
    text = write_yaml({"key": value})
    read, _ = read_yaml(text, "recipe")
    assert read == {"key": value}


@given(st.from_regex(r"[-+]?[0-9a-z_:.~]{0,7}[0-9a-z_.~]", fullmatch=True))
def test_a_plain_value_is_what_the_standard_reader_of_yaml_says_or_text_or_refused(written: str) -> None:
    try:
        value = read_yaml_value(written, "--set a")
    except RecipeError:
        return
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        assert value == float(written.replace("_", "").replace(".inf", "inf"))
    elif isinstance(value, str):
        assert value == written
    else:
        assert value == yaml.safe_load(written) or value != value


def test_a_dumped_recipe_keeps_its_texts() -> None:
    recipe = parse_recipe(f"{ARMS}name: '1e5'\nquestion: '0o17'\nmodel: {{source: a/b, revision: '1_000'}}\n")
    again = parse_recipe(dump_recipe(recipe))
    assert again == recipe
    assert recipe_hash(again) == recipe_hash(recipe)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "recipe: nothing is written in this file."),
        ("# a comment\n", "recipe: nothing is written in this file."),
        (
            f"{ARMS}name: !!python/object/apply:os.system [ls]\n",
            "recipe:3: tags such as !!python/object/apply:os.system",
        ),
        (f"{ARMS}training: !!set {{steps}}\n", "recipe:3: tags such as !!set are not read."),
        (f"{ARMS}seeds: !own [1]\n", "recipe:3: tags such as !own are not read."),
        (f"{ARMS}!!python/name:os.system name: a\n", "recipe:3: tags such as !!python/name:os.system are not read."),
        (f"{ARMS}seeds: [{'9' * 5000}]\n", "recipe:3: a number of 5,000 digits."),
        (f"{ARMS}---\n{ARMS}", "recipe:3: not valid YAML: another document begins."),
        (
            "arms: {full: {train: [embed[added]]}}\n",
            "recipe:1: not valid YAML: expected ',' or ']', but got '['. In a list on one line a selector",
        ),
        (f"{ARMS}name: a\x00b\n", "recipe:3: not valid YAML: U+0000 stands there."),
        (f'{ARMS}name: "\\UFFFFFFFF"\n', "recipe: not valid YAML: there is no such character."),
        (f"{ARMS}name: &a b\nquestion: &a c\n", "recipe:4: not valid YAML: two anchors have one name."),
        (f"{ARMS}corpus: {{sha256: 0{'1' * 63}}}\n", "recipe:3: '01111111111111111111...' could be read as a number."),
        (f"a: {'[' * 3000}\n", "recipe: not valid YAML: nested more than 20 levels deep."),
    ],
)
def test_what_is_no_recipe_is_told_with_its_line(text: str, sentence: str) -> None:
    told = error_of(text)
    assert told.startswith(sentence)
    assert len(told) < 300
