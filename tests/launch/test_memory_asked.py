"""What Ray is asked for: the memory that a unit is counted to take, unless the recipe says another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from frostline.errors import RecipeError
from frostline.launch import memory_asked
from frostline.launch.memory_asked import UnitNeeds, for_trials, for_units
from frostline.launch.ray_cluster import Needs, Node
from frostline.recipe import load_recipe
from tests.builders.experiments import write_experiment

NEEDS = Needs(cpus=2, gpus=0.0, memory_bytes=0)
NOTHING_SETTLED: dict[str, str] = {}
NODES = [Node("small", 4.0, 0.0, 2e9), Node("large", 16.0, 2.0, 64e9)]


def test_a_unit_asks_for_what_it_is_counted_to_take(tmp_path: Path) -> None:
    recipe = load_recipe(write_experiment(tmp_path, layers=2))
    found = for_units(NEEDS, recipe, NODES, tmp_path, NOTHING_SETTLED).needs
    assert 5e8 < found.memory_bytes < 2e9
    assert found == for_units(NEEDS, recipe, list(reversed(NODES)), tmp_path, NOTHING_SETTLED).needs
    assert replace(found, memory_bytes=0) == NEEDS
    assert 5e8 < for_trials(NEEDS, recipe, NODES, tmp_path).memory_bytes <= found.memory_bytes
    assert found.sentence == f"2 cores and {found.memory_bytes / 1e6:.0f} MB of memory"


def test_the_largest_variant_decides(tmp_path: Path) -> None:
    wide = write_experiment(tmp_path / "wide", "gpt2", layers=3).parent / "model"
    path = write_experiment(tmp_path, layers=2, vary={"model.source": ["model", str(wide)]})
    recipes = [load_recipe(path, ("vary={}", f"model.source={source}")) for source in ("model", wide)]
    both, *each = [
        for_units(NEEDS, recipe, NODES, tmp_path, NOTHING_SETTLED).needs.memory_bytes
        for recipe in (load_recipe(path), *recipes)
    ]
    assert both == max(each)


@pytest.mark.parametrize("gpus", [0.0, 1.0])
def test_what_the_recipe_says_is_left_and_so_is_memory_beside_a_gpu(gpus: float, tmp_path: Path) -> None:
    resources = {} if gpus else {"memory_gb": 3}
    recipe = load_recipe(write_experiment(tmp_path, layers=2, resources=resources))
    needs = Needs(2, gpus, 0 if gpus else 3_000_000_000)
    assert for_units(needs, recipe, NODES, tmp_path, NOTHING_SETTLED) == UnitNeeds(needs)
    assert for_trials(needs, recipe, NODES, tmp_path) == needs


def test_more_than_any_machine_has_is_a_sentence_with_the_key_and_the_way_out(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, layers=2, resources={"cpus": 2})
    recipe, tiny = load_recipe(path), [Node("tiny", 4.0, 0.0, 1e8)]
    asking: dict[str, Callable[[], object]] = {
        "unit": lambda: for_units(NEEDS, recipe, tiny, tmp_path, NOTHING_SETTLED),
        "trial": lambda: for_trials(NEEDS, recipe, tiny, tmp_path),
    }
    for what, ask in asking.items():
        with pytest.raises(RecipeError) as raised:
            ask()
        assert f"a {what} takes about" in str(raised.value)
        assert "the largest machine of the cluster has 100 MB for tasks" in str(raised.value)
        assert "resources.memory_gb" in str(raised.value)


def test_a_cluster_that_keeps_no_account_of_memory_is_asked_for_none(tmp_path: Path) -> None:
    recipe = load_recipe(write_experiment(tmp_path, layers=2))
    one = [Node("one", 4.0, 0.0, 0.0)]
    assert for_units(NEEDS, recipe, one, tmp_path, NOTHING_SETTLED) == UnitNeeds(NEEDS)
    assert for_trials(NEEDS, recipe, one, tmp_path) == NEEDS


def test_what_is_asked_for_is_what_the_schedule_takes_which_is_settled_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_asked, "ROUNDED_BYTES", 1)  # models here are tiny
    path = write_experiment(tmp_path, layers=2, windows={"length": 64, "held_out": 4})

    def asked(room: float, *changes: str, settled: Mapping[str, str] = NOTHING_SETTLED) -> UnitNeeds:
        return for_units(NEEDS, load_recipe(path, changes), [Node("one", 4.0, 0.0, room)], tmp_path, settled)

    together, alone = (asked(64e9, f"training.schedule={name}").needs for name in ("lock-step", "one-by-one"))
    assert together.memory_bytes > alone.memory_bytes
    assert asked(together.memory_bytes) == UnitNeeds(together, {"": "lock-step"})
    assert asked(together.memory_bytes - 1) == UnitNeeds(alone, {"": "one-by-one"})
    # What a run was begun with stays, and so does what the recipe says: there, nothing is left to settle.
    assert asked(64e9, settled={"": "one-by-one"}) == UnitNeeds(alone)
    with pytest.raises(RecipeError, match="a unit takes about"):
        asked(alone.memory_bytes, settled={"": "lock-step"})
    assert asked(64e9, "training.schedule=lock-step").schedules == {}


def test_so_many_units_fit_onto_a_machine() -> None:
    needs = Needs(cpus=3, gpus=0.5, memory_bytes=10_000_000_000)
    assert needs.times_on(NODES[1]) == 4
    assert needs.times_on(NODES[0]) == 0
    assert NEEDS.times_on(NODES[1]) == 8
