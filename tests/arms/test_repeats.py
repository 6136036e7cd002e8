"""A device on which a step does not give the same bits twice is told before a run, which then goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from frostline.arms import doubt_of_repeats, prepare, repeats
from frostline.corpus import Batch
from frostline.engine import Arm, StepOutcome
from frostline.experiment import run_experiment
from frostline.recipe import load_recipe, variants_of
from frostline.terminal.progress import PlainProgress
from tests.builders.experiments import write_experiment

DOUBT = (
    "Two steps from one state did not give the same bits on this device (arm full): no result of this run will come "
    "out the same again, and differences between arms hold that noise."
)


@pytest.fixture
def _tried_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "DEVICES", {"cpu"})


def doubt(folder: Path) -> str | None:
    (variant,) = variants_of(load_recipe(write_experiment(folder)))
    return doubt_of_repeats(prepare(variant, folder / "cache", say=lambda text: None))


def then(change: Callable[[Arm], None]) -> Callable[[Arm, Batch, int], StepOutcome]:
    """A step after which `change` befalls the arm."""
    take_step = Arm.take_step

    def changed(self: Arm, batch: Batch, step: int) -> StepOutcome:
        outcome = take_step(self, batch, step)
        change(self)
        return outcome

    return changed


@pytest.mark.usefixtures("_tried_on_a_cpu")
def test_a_step_that_gives_the_same_bits_twice_leaves_no_doubt(tmp_path: Path) -> None:
    assert doubt(tmp_path) is None


@pytest.mark.usefixtures("_tried_on_a_cpu")
def test_one_bit_of_one_weight_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms: list[Arm] = []

    def one_bit_the_second_time(arm: Arm) -> None:
        arms.append(arm)
        if len(arms) == 2:
            (_, parameter), *_ = arm.applied.trainable_parameters()
            with torch.no_grad():
                parameter.view(-1)[0].view(torch.int32).bitwise_xor_(1)

    monkeypatch.setattr(Arm, "take_step", then(one_bit_the_second_time))
    assert doubt(tmp_path) == DOUBT
    assert {arm.name for arm in arms} == {"full"}, "the arm that trains most"


@pytest.mark.usefixtures("_tried_on_a_cpu")
def test_an_arm_that_cannot_take_a_step_is_left_to_tell_of_it_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(self: Arm, batch: Batch, step: int) -> StepOutcome:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Arm, "take_step", out_of_memory)
    assert doubt(tmp_path) == (
        "Whether a step gives the same bits twice could not be tried: out of memory: CUDA out of memory"
    )


def test_on_a_cpu_nothing_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Arm, "take_step")
    assert doubt(tmp_path) is None


@pytest.mark.usefixtures("_tried_on_a_cpu")
def test_the_run_says_it_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Arm] = []

    def drift(arm: Arm) -> None:
        steps.append(arm)
        (_, parameter), *_ = arm.applied.trainable_parameters()
        with torch.no_grad():
            parameter.add_(1e-3 * len(steps))

    monkeypatch.setattr(Arm, "take_step", then(drift))
    recipe = load_recipe(write_experiment(tmp_path, seeds=[0]), ["training.steps=1"])
    console = Console(width=1000)
    with console.capture() as captured, PlainProgress(console) as progress:
        result = run_experiment(recipe, tmp_path / "run", tmp_path / "cache", progress)
    assert DOUBT in captured.get()
    assert result.status == "finished"
