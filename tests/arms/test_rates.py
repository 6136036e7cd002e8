"""The rules of a race of learning rates: what is tried next, and what is chosen, against numpy's own parabola."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from frostline.arms import choose_rate, grid_of, next_rate, plan_arms, race_seed, trial_training
from frostline.recipe import Recipe
from tests.builders.models import tiny_model

GRID = (1e-4, 3e-4, 9e-4)
ARMS = {
    "full": {"train": "all"},
    "freeze": {"train": ["attn.qkv@50%:"]},
    "thaw": {"train": ["attn@50%:"], "changes": [{"at": 3, "thaw": ["mlp"]}]},
}


def raced(loss: Callable[[float], float], grid: tuple[float, ...] = GRID) -> dict[float, float]:
    """Every trial of a race in which a rate has this loss."""
    tried: dict[float, float] = {}
    while (rate := next_rate(tried, grid)) is not None:
        assert rate not in tried
        tried[rate] = loss(rate)
    return tried


def valley(best: float) -> Callable[[float], float]:
    return lambda rate: 2.0 + 0.1 * math.log(rate / best) ** 2


def recipe_with(**training: object) -> Recipe:
    settings = {"steps": 20, "learning_rate": "best", **training}
    return Recipe.model_validate({"arms": ARMS, "training": settings, "seeds": [0, 1]})


def test_three_rates_are_enough_where_the_middle_one_is_best() -> None:
    assert list(raced(valley(3e-4))) == list(GRID)


@pytest.mark.parametrize(
    ("best", "lowest", "highest"), [(1e-6, 3.7e-6, 9e-4), (1.0, 1e-4, 0.024), (2.6e-3, 1e-4, 8.1e-3)]
)
def test_the_race_goes_on_beyond_the_edge_that_is_best_but_not_for_ever(
    best: float, lowest: float, highest: float
) -> None:
    tried = raced(valley(best))
    assert (min(tried), max(tried)) == (lowest, highest)


def test_what_is_chosen_is_the_lowest_point_of_the_parabola_in_the_logarithm() -> None:
    tried = {1e-4: 2.9, 3e-4: 2.5, 9e-4: 2.6, 2.7e-3: 3.4}
    choice = choose_rate(tried)
    a, b, _ = np.polyfit(np.log([1e-4, 3e-4, 9e-4]), [2.9, 2.5, 2.6], 2)
    assert choice is not None
    assert choice.learning_rate == float(f"{math.exp(-b / (2 * a)):.1e}")
    assert choice.method == "by a parabola through the best of 4 rates tried"
    assert (choice.low, choice.high) == (1e-4, 9e-4)


@pytest.mark.parametrize("losses", [(2.5, 2.5, 2.5), (3.0, 2.5, 3.0)])
def test_a_symmetric_or_flat_valley_is_lowest_at_the_rate_that_was_tried(losses: tuple[float, ...]) -> None:
    choice = choose_rate(dict(zip(GRID, losses, strict=True)))
    assert choice is not None
    assert choice.learning_rate in GRID[:2]


def test_nothing_above_a_rate_that_diverged_is_tried() -> None:
    tried = raced(lambda rate: math.inf if rate > 2e-4 else 2.0, (1e-4, 3e-4, 9e-4, 2.7e-3))
    assert max(tried) == 3e-4
    choice = choose_rate({1e-5: 2.4, 1e-4: 2.0, 3e-4: math.inf})
    assert choice is not None
    assert (choice.learning_rate, choice.method) == (1e-4, "the best of 3 rates tried; the next higher one diverged")


def test_a_rate_above_one_that_diverged_is_not_chosen_however_low_its_loss() -> None:
    choice = choose_rate({1e-5: 2.4, 1e-4: math.inf, 1e-3: 1.0})
    assert choice is not None
    assert choice.learning_rate == 1e-5


def test_where_all_diverge_lower_ones_are_tried_and_then_none_is_chosen() -> None:
    tried = raced(lambda rate: math.inf)
    assert list(tried) == [1e-4, 3.3e-5, 1.1e-5, 3.7e-6]
    assert choose_rate(tried) is None


def test_the_less_an_arm_trains_the_higher_its_grid_and_all_lie_on_one() -> None:
    arms = plan_arms(recipe_with(), tiny_model("llama"))
    grids = {name: grid_of(arm.resolved, recipe_with().training) for name, arm in arms.items()}
    assert grids["full"] == (6.7e-5, 2e-4, 6e-4)
    assert grids["freeze"][1] in (6e-4, 1.8e-3)
    assert all(arm.raced and arm.learning_rate == grids[name][1] for name, arm in arms.items())


def test_a_grid_that_the_recipe_gives_is_taken() -> None:
    arms = plan_arms(recipe_with(), tiny_model("llama"))
    training = recipe_with(rates=[1e-5, 1e-3]).training
    assert grid_of(arms["full"].resolved, training) == (1e-5, 1e-3)


def test_a_trial_is_half_the_run_its_warm_up_too_unless_the_plan_changes_or_the_run_is_short() -> None:
    arms = plan_arms(recipe_with(), tiny_model("llama"))
    training = recipe_with(warmup=4).training
    of_full, of_thaw = (trial_training(training, arms[name].resolved) for name in ("full", "thaw"))
    assert (of_full.steps, of_full.warmup) == (10, 2)
    assert (of_thaw.steps, of_thaw.warmup) == (20, 4)
    assert trial_training(recipe_with(steps=9).training, arms["full"].resolved).steps == 8
    assert trial_training(recipe_with(steps=5).training, arms["full"].resolved).steps == 5


def test_the_seed_of_a_race_is_none_of_the_recipes_and_does_not_depend_on_them() -> None:
    usual = race_seed(recipe_with())
    assert race_seed(recipe_with().model_copy(update={"seeds": (5, 6, 7)})) == usual
    assert race_seed(recipe_with().model_copy(update={"seeds": (usual,)})) == usual + 1
