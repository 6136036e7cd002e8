"""An arm that several processes hold is measured, read and checked like any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from frostline.measures import WeightWatch, evaluate_loss
from tests.builders.batches import random_batch
from tests.builders.processes import Processes
from tests.engine.sharded_cases import CASES, CPU, tried
from tests.engine.sharded_scenes import norms_of, text_of

Played = Callable[[str], dict[str, Any]]
SCENES = ("measured", "read_weights", "watched", "refused", "made")


@pytest.fixture(scope="module")
def played(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """What came of a scene in two processes, which play all of them at once."""
    folder: list[Path] = []

    def found(name: str) -> dict[str, Any]:
        if not folder:
            folder.append(tmp_path_factory.mktemp("sharded"))
            done = processes.python("-m", "tests.engine.sharded_scenes", str(folder[0]), "2", *SCENES)
            assert done.returncode == 0, done.stderr
        content: dict[str, Any] = json.loads((folder[0] / f"{name}.json").read_text())
        return content

    return found


@pytest.mark.parametrize("name", tried("suffix", "tied", "gradual", "suffix-bf16", "lora"))
def test_losses_and_text_between_steps_are_those_of_one_process(name: str, played: Played) -> None:
    case, found = CASES[name], played("measured")[name]
    arm, evaluated, texts = case.arm(), [], []
    windows = [random_batch(50), random_batch(51)]
    for step in range(6):
        arm.take_step(case.batch(step), step)
        beginning = arm.forward.beginning(step + 1)
        measure = evaluate_loss(arm.model, windows, device=CPU, precision=case.precision, beginning=beginning)
        evaluated.append(measure.loss_nats)
        if step % 3 == 0:
            texts.append(text_of(arm, case))
    texts.append(text_of(arm, case))
    assert found["evaluated"] == pytest.approx(evaluated, abs=1e-5 if case.precision == "bf16" else 1e-6, rel=0)
    assert found["texts"] == texts
    assert found["undisturbed"]


@pytest.mark.parametrize("name", ["suffix", "tied", "split", "lora"])
def test_weights_are_read_as_if_they_were_whole(name: str, played: Played) -> None:
    found = played("read_weights")[name]
    assert found["same"]
    assert found["whole"]
    assert found["frozen_before"] == []


def test_a_frozen_weight_that_moves_in_one_process_is_named_in_all(played: Played) -> None:
    found = played("read_weights")
    assert len(found["lora"]["moved"]) == 1
    assert found["tied"]["moved"] == []


@pytest.mark.parametrize("name", tried("suffix", "split", "lora", "gradual", "tied"))
def test_weight_changes_are_measured_as_in_one_process(name: str, played: Played) -> None:
    case, found = CASES[name], played("watched")[name]
    arm = case.arm()
    watch = WeightWatch(arm.applied, ["attn", "embed"], base=case.base())
    norms = []
    for step in range(6):
        arm.take_step(case.batch(step), step)
        norms.append(norms_of(watch, step))
    assert found["norms"] == norms
    assert found["final"] == asdict(watch.final())


def test_models_that_cannot_be_shared_are_refused(played: Played) -> None:
    layer_drop, shared = played("refused")["reasons"]
    assert "leaves out whole layers" in layer_drop
    assert "layers 2 and 3 share a weight" in shared


@pytest.mark.parametrize("name", ["full", "filed"])
def test_an_arm_is_made_with_no_more_than_a_layer_whole(name: str, played: Played) -> None:
    found = played("made")[name]
    rows = found["trained"] / 2
    # A layer is whole where it is made; put together, it is there as it was sent, too.
    assert rows < found["most"] < rows + 3 * found["layer"] < found["trained"]
