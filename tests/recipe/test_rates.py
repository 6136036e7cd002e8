"""A learning rate is a number or the word best; what does not work is told in one sentence with its key."""

from __future__ import annotations

import pytest

from frostline.errors import RecipeError
from frostline.recipe import parse_recipe, recipe_hash, variants_of

ARMS = "arms:\n  full: {train: all}\n  freeze: {train: attn, learning_rate: 1e-3}\n"


def test_best_is_each_arms_own_unless_the_arm_names_a_rate() -> None:
    recipe = parse_recipe(f"{ARMS}training: {{learning_rate: best}}\n")
    assert (recipe.learning_rate_of("full"), recipe.learning_rate_of("freeze")) == ("best", 1e-3)


@pytest.mark.parametrize(
    ("overrides", "windows"),
    [
        ([], 0),
        (["training.learning_rate=best"], 16),
        (["arms.freeze.learning_rate=best", "windows.race=5"], 5),
        (["training.learning_rate=best", "arms.full.learning_rate=1e-4"], 0),
    ],
)
def test_windows_are_set_apart_only_where_a_rate_is_raced(overrides: list[str], windows: int) -> None:
    assert parse_recipe(ARMS, overrides).race_windows == windows


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("training.learning_rate=bset", "a number greater than 0 or the word best belongs here, found 'bset'"),
        ("training.learning_rate=0", "a number greater than 0 or the word best belongs here, found 0"),
        ("arms.full.learning_rate=.inf", "a number greater than 0 or the word best belongs here, found .inf"),
        ("training.rates=[]", "a race needs two rates or more, found []"),
        ("training.rates=[1e-3]", "a race needs two rates or more, found [0.001]"),
        ("training.rates=[1e-3, 1e-4]", "rates stand in ascending order, each once, found [0.001, 0.0001]"),
        ("training.rates=[1e-3, 1e-3]", "rates stand in ascending order, each once"),
        ("training.rates=[-1e-3, 1e-4]", "a number greater than 0"),
        ("windows.race=0", "a number of 1 or more belongs here"),
        ("vary.training.learning_rate=[1e-3, best]", "a rate that is varied is a number"),
        ("vary.training.learning_rate=[1e-3, -1]", "-1 does not work as training.learning_rate"),
    ],
)
def test_what_does_not_work_is_told(override: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse_recipe(ARMS, [override])
    assert sentence in str(error.value)
    assert override.partition("=")[0] in str(error.value)


def test_varying_a_rate_that_no_arm_uses_is_told() -> None:
    with pytest.raises(RecipeError, match="every arm has a learning rate of its own"):
        parse_recipe(ARMS, ["arms.full.learning_rate=1e-4", "vary.training.learning_rate=[1e-4, 1e-3]"])


def test_rates_can_be_varied() -> None:
    variants = variants_of(parse_recipe(ARMS, ["vary.training.learning_rate=[1e-4, 1e-3]"]))
    assert [variant.recipe.learning_rate_of("full") for variant in variants] == [1e-4, 1e-3]
    assert [variant.recipe.learning_rate_of("freeze") for variant in variants] == [1e-3, 1e-3]


def test_keys_that_came_later_count_in_the_hash_only_where_they_are_set() -> None:
    plain = recipe_hash(parse_recipe(ARMS))
    assert recipe_hash(parse_recipe(ARMS, ["windows.race=16", "training.rates=null"])) == plain
    assert recipe_hash(parse_recipe(ARMS, ["windows.race=8"])) != plain
