"""Arms train in lock step in alternating order, without touching each other."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from frostline.arms import prepare, shared_parts
from frostline.corpus import Batch
from frostline.engine import Arm, StepOutcome
from frostline.experiment import train
from frostline.experiment.arm_in_training import ArmInTraining, begin_arm
from frostline.experiment.checkpoints import Pace
from frostline.experiment.measuring import UntouchedLosses
from frostline.experiment.replicate import Replicate
from frostline.experiment.train import run_replicate, take_steps
from frostline.recipe import load_recipe, variants_of
from frostline.run_folder import ArmFailed, Journal, StepTaken, records_of
from frostline.terminal.progress import PlainProgress
from tests.builders.experiments import write_experiment

STEPS = 4


class Turns(PlainProgress):
    """Keeps which arm took which step, in the order of time."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.taken: list[tuple[int, str]] = []

    def step(self, arm: str, step: int, loss_nats: float, tokens: int, seconds: float) -> None:
        self.taken.append((step, arm))


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    (folder / "cache").mkdir()
    return write_experiment(
        folder,
        seeds=[0],
        training={"steps": STEPS, "batch": 2, "learning_rate": 0.01, "precision": "fp32"},
        measures={"evaluate_every": 0, "sampling": {"prompts": 0}, "memory": False},
    )


@contextlib.contextmanager
def replicate_of(recipe_file: Path, run_folder: Path, arms: str) -> Iterator[Replicate]:
    (variant,) = variants_of(load_recipe(recipe_file, [f"arms={arms}"]))
    prepared = prepare(variant, recipe_file.parent / "cache", say=lambda text: None)
    run_folder.mkdir()
    with Journal(run_folder) as journal, shared_parts(prepared, None) as sharing:
        yield Replicate(sharing, 0, journal, Turns(), UntouchedLosses(sharing))


def losses(replicate: Replicate, name: str) -> list[float]:
    return [taken.loss_nats for taken in records_of(replicate.journal_of(name).records(), StepTaken)]


def turns(replicate: Replicate) -> list[tuple[int, str]]:
    assert isinstance(replicate.progress, Turns)
    return replicate.progress.taken


TWO = "{full: {train: all}, freeze: {train: ['attn.qkv@50%:']}}"
THREE = "{freeze: {train: ['attn.qkv@50%:']}, reversed: {freeze: ['attn@50%:']}, full: {train: all}}"


def test_order_turns_round_every_step(recipe_file: Path, tmp_path: Path) -> None:
    with replicate_of(recipe_file, tmp_path / "run", TWO) as replicate:
        run_replicate(replicate)
        assert turns(replicate)[:6] == [
            (0, "full"), (0, "freeze"), (1, "freeze"), (1, "full"), (2, "full"), (2, "freeze"),
        ]  # fmt: skip


def test_adding_and_reordering_arms_changes_no_arm(recipe_file: Path, tmp_path: Path) -> None:
    with replicate_of(recipe_file, tmp_path / "two", TWO) as two:
        run_replicate(two)
    with replicate_of(recipe_file, tmp_path / "three", THREE) as three:
        run_replicate(three)
    for name in ("full", "freeze"):
        assert len(losses(two, name)) == STEPS
        assert losses(two, name) == losses(three, name)


def test_the_same_arm_twice_differs_by_exactly_nothing(recipe_file: Path, tmp_path: Path) -> None:
    with replicate_of(recipe_file, tmp_path / "run", "{a: {train: all}, a-again: {train: all}}") as replicate:
        run_replicate(replicate)
        assert losses(replicate, "a") == losses(replicate, "a-again")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory: CUDA out of memory"),
        (RuntimeError("shapes do not match\nand more"), "RuntimeError: shapes do not match"),
    ],
)
def test_an_arm_that_cannot_go_on_stops_alone_with_its_cause(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, cause: str
) -> None:
    take_step = Arm.take_step

    def failing(self: Arm, batch: Batch, step: int) -> StepOutcome:
        if (self.name, step) == ("full", 1):
            raise error
        return take_step(self, batch, step)

    monkeypatch.setattr(Arm, "take_step", failing)
    with replicate_of(recipe_file, tmp_path / "run", TWO) as replicate:
        run_replicate(replicate)
        assert [step for step, arm in turns(replicate) if arm == "freeze"] == list(range(STEPS))
        (failed,) = records_of(replicate.journal_of("full").records(), ArmFailed)
        assert (failed.step, failed.cause) == (1, cause)
        assert len(losses(replicate, "full")) == 1


def test_an_arm_that_failed_leaves_its_memory_to_the_others(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_step = Arm.take_step
    held: list[weakref.ref[object]] = []
    left: list[weakref.ref[object]] = []

    def failing(self: Arm, batch: Batch, step: int) -> StepOutcome:
        outcome = take_step(self, batch, step)
        if self.name == "full" and step == 0:
            (_, parameter), *_ = self.applied.trainable_parameters()
            moments = self.optimizer.state[parameter]["exp_avg"]
            held.extend([weakref.ref(parameter), weakref.ref(moments), weakref.ref(self)])
            raise RuntimeError("no")
        if step == 0:  # the other one, in the same step
            left.extend(own for own in held if own() is not None)
        return outcome

    monkeypatch.setattr(Arm, "take_step", failing)
    with replicate_of(recipe_file, tmp_path / "run", TWO) as replicate:
        run_replicate(replicate)
        assert len(losses(replicate, "freeze")) == STEPS
    assert len(held) == 3
    assert left == []


def test_on_a_gpu_memory_is_given_back_between_groups_of_arms(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    monkeypatch.setattr(
        train, "_train_together", lambda replicate, group: happened.append(" ".join(arm.name for arm in group))
    )
    monkeypatch.setattr(train, "give_back_device_memory", lambda device: happened.append(f"give back on {device}"))
    with replicate_of(recipe_file, tmp_path / "run", TWO) as replicate:
        run_replicate(replace(replicate, prepared=replace(replicate.prepared, schedule="one-by-one")))
    assert happened == ["full", "give back on cpu", "freeze", "give back on cpu"]


def test_an_arm_that_cannot_even_begin_stops_alone(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(replicate: Replicate, planned: object) -> ArmInTraining:
        raise MemoryError("no")

    monkeypatch.setattr("frostline.experiment.train.begin_arm", failing)
    with replicate_of(recipe_file, tmp_path / "run", TWO) as replicate:
        run_replicate(replicate)
        (failed,) = records_of(replicate.journal_of("full").records(), ArmFailed)
        assert (failed.step, failed.cause) == (0, "out of memory: no")


def test_an_arm_that_is_further_joins_when_the_others_have_come_so_far(recipe_file: Path, tmp_path: Path) -> None:
    with replicate_of(recipe_file, tmp_path / "straight", TWO) as straight:
        run_replicate(straight)
    with replicate_of(recipe_file, tmp_path / "joined", TWO) as replicate:
        prepared = replicate.prepared
        arms = [begin_arm(replicate, planned) for planned in prepared.arms.values()]
        for step in range(2):
            arms[1].arm.take_step(prepared.corpus.batch(0, step, prepared.recipe.training.batch), step)
        arms[1].watch.resume_after(1)
        arms[1].steps = 2
        take_steps(replicate, arms, Pace(prepared.recipe.checkpoints, 0.0))
        assert turns(replicate) == [
            (0, "full"), (1, "full"), (2, "full"), (2, "freeze"), (3, "freeze"), (3, "full"),
        ]  # fmt: skip
        assert losses(replicate, "full") == losses(straight, "full")
        assert losses(replicate, "freeze") == losses(straight, "freeze")[2:]
