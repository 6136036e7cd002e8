"""Into which parts an experiment falls."""

from __future__ import annotations

from pathlib import Path

import pytest

from frostline.errors import RecipeError
from frostline.experiment import Unit, tails_of, units_of
from frostline.recipe import Recipe, load_recipe, recipe_hash
from tests.builders.experiments import write_experiment


def recipe_with(folder: Path, **changes: object) -> Recipe:
    return load_recipe(write_experiment(folder, layers=2, **changes))  # type: ignore[arg-type]  # of any type


def test_a_replicate_is_one_unit_with_all_its_arms(tmp_path: Path) -> None:
    units = units_of(recipe_with(tmp_path))
    assert units == [Unit("", 0, ("full", "freeze", "reversed")), Unit("", 1, ("full", "freeze", "reversed"))]
    assert [unit.name for unit in units] == ["variant0-seed0-group0", "variant0-seed1-group0"]


def test_groups_have_the_baseline_each(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, seeds=[3], baseline="freeze", resources={"arms": 1})
    assert [unit.arms for unit in units_of(recipe)] == [("full", "freeze"), ("freeze", "reversed")]
    assert [unit.title for unit in units_of(recipe)] == ["seed 3", "seed 3, group 2"]


def test_one_arm_alone_is_a_unit(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, seeds=[0], arms={"full": {"train": "all"}}, resources={"arms": 4})
    assert [unit.arms for unit in units_of(recipe)] == [("full",)]


def test_units_come_in_the_order_in_which_one_process_would_come_to_them(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, vary={"corpus.tokens": [600, 1200]}, measures={"memory": True})
    labels = ["corpus.tokens=600", "corpus.tokens=1200"]
    assert [(unit.variant, unit.seed) for unit in units_of(recipe)] == [(label, n) for label in labels for n in (0, 1)]
    assert [tail.variant for tail in tails_of(recipe)] == labels


def test_resources_are_no_part_of_what_a_recipe_is_known_by_unless_they_are_set(tmp_path: Path) -> None:
    plain = recipe_with(tmp_path)
    assert plain.resources.cpus is None
    assert recipe_hash(plain) == recipe_hash(recipe_with(tmp_path, resources={}))


@pytest.mark.parametrize(
    "resources", [{"cpus": 0}, {"gpus": 1.5}, {"memory_gb": -1}, {"memory_gb": 1e308}, {"arms": 0}, {"cores": 2}]
)
def test_what_no_machine_could_have_is_refused(resources: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="resources"):
        recipe_with(tmp_path, resources=resources)
