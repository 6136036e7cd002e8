"""Arms train in lock step in alternating order, without touching each other."""

from __future__ import annotations

import copy

import pytest
import torch

from frostline.engine import Arm, ArmStopped, StepOutcome, train_in_lock_step
from frostline.engine.loop import turn_order
from tests.builders.arms import make_arm
from tests.builders.batches import random_batch
from tests.builders.models import tiny_model

PLANS = {"full": "train: all", "freeze": "train: [attn.qkv@50%:]", "reversed": "freeze: [attn@50%:]"}


def make_arms(names: list[str]) -> list[Arm]:
    return [make_arm(tiny_model("llama"), PLANS[name], name=name) for name in names]


def losses(arms: list[Arm], steps: int = 4) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {arm.name: [] for arm in arms}
    for outcome in train_in_lock_step(arms, random_batch, steps):
        assert isinstance(outcome, StepOutcome)
        found[outcome.arm].append(outcome.loss_nats)
    return found


def test_order_turns_round_every_step() -> None:
    arms = make_arms(["full", "freeze"])
    taken = [(outcome.step, outcome.arm) for outcome in train_in_lock_step(arms, random_batch, 3)]
    assert taken == [(0, "full"), (0, "freeze"), (1, "freeze"), (1, "full"), (2, "full"), (2, "freeze")]
    assert [arm.name for arm in turn_order(arms, 5)] == ["freeze", "full"]


def test_lock_step_and_one_after_another_give_the_same_bits() -> None:
    together = make_arms(list(PLANS))
    found = losses(together)
    for arm in together:
        (alone,) = make_arms([arm.name])
        assert losses([alone])[arm.name] == found[arm.name]
        for name, parameter in alone.model.named_parameters():
            assert torch.equal(parameter, dict(arm.model.named_parameters())[name])


def test_adding_or_reordering_arms_changes_no_arm() -> None:
    expected = losses(make_arms(["full", "freeze"]))
    assert losses(make_arms(["freeze", "reversed", "full"])) == expected | losses(make_arms(["reversed"]))


def test_the_same_arm_twice_differs_by_exactly_nothing() -> None:
    model = tiny_model("gpt2")
    twins = [make_arm(copy.deepcopy(model), name=name) for name in ("a", "a-again")]
    found = losses(twins)
    assert found["a"] == found["a-again"]


def test_an_arm_whose_loss_is_not_finite_stops_alone() -> None:
    wild = make_arm(tiny_model("llama"), name="wild", learning_rate=1e30, gradient_clipping=None)
    calm = make_arm(tiny_model("llama"), name="calm")
    outcomes = list(train_in_lock_step([wild, calm], random_batch, 6))
    stopped = [outcome for outcome in outcomes if isinstance(outcome, ArmStopped)]
    assert [stop.arm for stop in stopped] == ["wild"]
    assert "finite" in stopped[0].cause
    assert [outcome.step for outcome in outcomes if outcome.arm == "calm"] == list(range(6))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError("no"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"),
    ],
)
def test_an_arm_out_of_memory_stops_alone(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    greedy, calm = make_arms(["full", "freeze"])

    def fail(*arguments: object) -> StepOutcome:
        raise error

    monkeypatch.setattr(greedy, "take_step", fail)
    outcomes = list(train_in_lock_step([greedy, calm], random_batch, 2))
    assert next(outcome.cause for outcome in outcomes if isinstance(outcome, ArmStopped)).startswith("out of memory")
    assert [outcome.step for outcome in outcomes if outcome.arm == "freeze"] == [0, 1]


def test_any_error_of_an_arm_stops_it_alone_with_its_kind_as_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    broken, calm = make_arms(["full", "freeze"])

    def fail(*arguments: object) -> StepOutcome:
        raise RuntimeError("shapes do not match\nand more")

    monkeypatch.setattr(broken, "take_step", fail)
    outcomes = list(train_in_lock_step([broken, calm], random_batch, 2))
    assert [outcome.cause for outcome in outcomes if isinstance(outcome, ArmStopped)] == [
        "RuntimeError: shapes do not match"
    ]
    assert [outcome.step for outcome in outcomes if outcome.arm == "freeze"] == [0, 1]


def test_an_arm_that_is_further_joins_when_the_others_have_come_so_far() -> None:
    straight = losses(make_arms(["full", "freeze"]))
    arms = make_arms(["full", "freeze"])
    for step in range(2):
        arms[1].take_step(random_batch(step), step)
    outcomes = list(train_in_lock_step(arms, random_batch, 4, {"freeze": 2}))
    assert [(outcome.step, outcome.arm) for outcome in outcomes] == [
        (0, "full"), (1, "full"), (2, "full"), (2, "freeze"), (3, "freeze"), (3, "full"),
    ]  # fmt: skip
    taken = [outcome for outcome in outcomes if isinstance(outcome, StepOutcome)]
    assert [outcome.loss_nats for outcome in taken if outcome.arm == "full"] == straight["full"]
    assert [outcome.loss_nats for outcome in taken if outcome.arm == "freeze"] == straight["freeze"][2:]
