"""An arm that several processes hold together trains as one process trains it, and twice the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.builders.processes import Processes
from tests.engine.sharded_cases import CASES, MANY, taken, tried, whole_weights_of

FIRST, SECOND, OF_THREE = "first", "second", "three"
PROCESSES = {FIRST: 2, SECOND: 2, OF_THREE: 3}
NAMES: dict[str, tuple[str, ...]] = {
    FIRST: tried(*CASES),
    SECOND: tried("full", "gradual-bf16", "odd-parts", "dropout"),
    OF_THREE: tried("tied", "odd-parts", "one-part", *(("gradual", "lora", "experts") if MANY else ())),
}
UNEVEN = ("odd-sizes",)
"""Rows of other lengths than a processor computes at once: AdamW rounds what is left of them otherwise."""
Played = Callable[[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def played(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """What came of a case in a run, which trains all of its cases at once."""
    folder = tmp_path_factory.mktemp("sharded")

    def found(run: str, name: str) -> dict[str, Any]:
        place = folder / run
        if not place.exists():
            place.mkdir()
            size = str(PROCESSES[run])
            done = processes.python("-m", "tests.engine.sharded_cases", str(place), size, *NAMES[run])
            assert done.returncode == 0, done.stderr
        content: dict[str, Any] = json.loads((place / f"{name}.json").read_text())
        return content | {"weights": load_file(place / f"{name}.safetensors")}

    return found


@pytest.mark.parametrize("name", NAMES[FIRST])
def test_two_processes_give_what_one_gives(name: str, played: Played) -> None:
    case, found = CASES[name], played(FIRST, name)
    arm = case.arm()
    alone = taken(arm, case)
    assert found["losses"] == pytest.approx(alone["losses"], abs=1e-6, rel=0)
    assert found["changed"] == alone["changed"]
    assert (found["trained"], found["parameters"]) == (alone["trained"], alone["parameters"])
    assert found["moved"] == []
    weights, expected = found["weights"], whole_weights_of(arm, case)
    assert weights.keys() == expected.keys()
    if name not in UNEVEN:
        assert (found["losses"], found["norms"]) == (alone["losses"], alone["norms"])
        assert all(torch.equal(weights[key], expected[key]) for key in expected)


@pytest.mark.parametrize("name", NAMES[OF_THREE])
def test_three_processes_that_cannot_divide_evenly_give_the_losses_of_one(name: str, played: Played) -> None:
    case, found = CASES[name], played(OF_THREE, name)
    arm = case.arm()
    assert found["losses"] == pytest.approx(taken(arm, case)["losses"], abs=1e-6, rel=0)
    weights = found["weights"]
    for key, value in whole_weights_of(arm, case).items():
        torch.testing.assert_close(weights[key], value, rtol=0, atol=1e-4)


def test_each_process_holds_about_half_of_what_trains(played: Played) -> None:
    for name in tried("full", "suffix", "split", "lora", "head"):
        found = played(FIRST, name)
        assert found["held"] == pytest.approx(found["trained"] / 2, rel=0.02)


def test_layers_below_what_any_step_trains_are_not_shared(played: Played) -> None:
    lowest = {"full": 0, "suffix": 2, "suffix-bf16": 2, "gradual": 1, "head": 3, "head-alone": 4}
    for name in tried(*lowest):
        assert played(FIRST, name)["lowest"] == lowest[name]


@pytest.mark.parametrize("name", NAMES[SECOND])
def test_two_runs_give_the_same_bits(name: str, played: Played) -> None:
    first, second = played(FIRST, name), played(SECOND, name)
    assert (first["losses"], first["norms"]) == (second["losses"], second["norms"])
    assert all(torch.equal(first["weights"][key], own) for key, own in second["weights"].items())
