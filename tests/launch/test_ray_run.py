"""What a driver asks of a run folder and of a cluster before anything is given out; the cluster only pretends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from frostline.errors import RunFolderError
from frostline.experiment import Head, write_recipe
from frostline.launch import ray_run
from frostline.launch.part_work import Order
from frostline.launch.ray_cluster import Cluster, Machine, Node
from frostline.launch.ray_run import Asked, run_on_ray
from frostline.launch.where import LOCAL, RayAddress
from frostline.machine import THREADS
from frostline.progress import NoProgress
from frostline.recipe import Recipe, load_recipe
from frostline.run_folder import RunStarted
from tests.builders.experiments import write_experiment


class GivenOutError(Exception):
    """The driver has gone on to give out the head."""


class PretendDriver:
    """A driver that gives nothing out."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def do_head(self, order: Order, _: object) -> None:
        raise GivenOutError(order)


@pytest.fixture
def begun(tmp_path: Path) -> tuple[Recipe, Path]:
    """(recipe, run folder) of a run that has its recipe and nothing else."""
    recipe, run_folder = load_recipe(write_experiment(tmp_path, layers=2)), tmp_path / "run"
    run_folder.mkdir()
    write_recipe(run_folder, recipe)
    return recipe, run_folder


def start(run_folder: Path, **environment: str) -> None:
    """Have the journal say on what the run was begun."""
    (run_folder / "journal").mkdir()
    line = {"sequence": 0, "kind": "RunStarted", **vars(RunStarted("0", "0", "2020-01-01T00:00:00+00:00", environment))}
    (run_folder / "journal" / "run.jsonl").write_text(json.dumps(line) + "\n")


def go_on(recipe: Recipe, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on with the run on one machine of four cores."""
    node = Node("one", 4.0, 0.0, 8e9)

    @contextmanager
    def connected(address: RayAddress) -> Iterator[Cluster]:
        pretended = SimpleNamespace(nodes=lambda: [node], look=lambda *_: [Machine(node, {})])
        yield cast("Cluster", pretended)

    monkeypatch.setattr(ray_run, "Driver", PretendDriver)
    monkeypatch.setattr(ray_run, "connected", connected)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    run_on_ray(Asked(recipe, run_folder, run_folder.parent / "cache", RayAddress(LOCAL)), NoProgress())


def test_a_run_whose_weights_processes_sharded_does_not_go_on_on_a_cluster(
    begun: tuple[Recipe, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(begun[1], processes="2", sharding="weights are sharded over 2 processes")
    with pytest.raises(RunFolderError, match="2 processes share the weights of this run, and this is one") as raised:
        go_on(*begun, monkeypatch)
    assert "torchrun --nproc-per-node 2" in raised.value.hint


def test_a_run_of_more_threads_than_any_machine_has_cores_does_not_go_on(
    begun: tuple[Recipe, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(begun[1], **{THREADS: "8"})
    with pytest.raises(RunFolderError, match="it was begun with 8 threads a unit, and no machine has as many cores"):
        go_on(*begun, monkeypatch)


def test_a_run_of_which_nothing_was_computed_goes_on_with_what_there_is(
    begun: tuple[Recipe, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GivenOutError) as raised:
        go_on(*begun, monkeypatch)
    assert raised.value.args[0].threads == 4


def test_how_arms_train_is_settled_with_the_memory_that_is_asked_for(
    begun: tuple[Recipe, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GivenOutError) as raised:
        go_on(*begun, monkeypatch)
    assert raised.value.args[0].part == Head((("", "lock-step"),))
