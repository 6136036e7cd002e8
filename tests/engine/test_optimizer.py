"""AdamW is that of torch; with moments in 8 bits an arm goes on from a checkpoint with the very same bits."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from frostline.engine import Arm, moments_bytes, read_state, restore, state_of, write_state
from frostline.recipe import TrainingSettings
from tests.builders.arms import make_arm
from tests.builders.batches import random_batch
from tests.builders.models import tiny_model

CHANGING = "train: [mlp@2:]; at 2 thaw: [mlp@1]; at 5 freeze: [mlp@2]"
EIGHT_BIT = TrainingSettings(optimizer="adamw-8bit")


def model() -> PreTrainedModel:
    """Matrices of 8,192 values, whose moments are kept in 8 bits, and smaller ones, whose are not."""
    return tiny_model("llama", intermediate_size=256)


def moments(arm: Arm) -> set[torch.dtype]:
    kept = [own for state in arm.optimizer.state.values() for own in state.values() if isinstance(own, torch.Tensor)]
    return {own.dtype for own in kept if own.ndim == 2}


def bits(arm: Arm) -> dict[str, bytes]:
    return {key: value.numpy().tobytes() for key, value in state_of(arm, 8).tensors.items()}


def test_without_more_ado_it_is_that_of_torch() -> None:
    assert type(make_arm(model()).optimizer) is torch.optim.AdamW


def test_moments_take_a_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bitsandbytes")
    exact, short = make_arm(model(), "train: [mlp]"), make_arm(model(), "train: [mlp]", optimizer="adamw-8bit")
    for arm in (exact, short):
        arm.take_step(random_batch(0), 0)
    assert moments(short) == {torch.uint8}
    assert exact.optimizer_bytes() == pytest.approx(moments_bytes(exact.training, 12 * 8192), rel=0.01)
    # The codes of 2 x 256 values are shared by all.
    assert short.optimizer_bytes() == moments_bytes(EIGHT_BIT, 12 * 8192) + 2 * 4 * 256


def test_weights_stay_in_fp32_and_go_nearly_the_way_of_exact_moments() -> None:
    pytest.importorskip("bitsandbytes")
    start = model()
    arms = [
        make_arm(copy.deepcopy(start), "train: [mlp]", optimizer=name, learning_rate=1e-3)
        for name in ("adamw", "adamw-8bit")
    ]
    for step in range(8):
        for arm in arms:
            arm.take_step(random_batch(step), step)
    for name, exact in arms[0].applied.trainable_parameters():
        short = arms[1].model.get_parameter(name)
        assert short.dtype == torch.float32
        moved = (exact - start.get_parameter(name)).norm()
        assert 0 < (short - exact).norm() < 0.1 * moved


@pytest.mark.parametrize("optimizer", ["adamw", "adamw-8bit"])
@pytest.mark.parametrize("stop", [1, 3, 6])
def test_an_arm_goes_on_from_a_checkpoint_with_the_same_bits(optimizer: str, stop: int, tmp_path: Path) -> None:
    if optimizer != "adamw":
        pytest.importorskip("bitsandbytes")
    whole, begun, resumed = (make_arm(model(), CHANGING, optimizer=optimizer) for _ in range(3))
    for step in range(8):
        whole.take_step(random_batch(step), step)
    for step in range(stop):
        begun.take_step(random_batch(step), step)
    write_state(state_of(begun, stop), tmp_path)
    restore(resumed, read_state(tmp_path))
    for step in range(stop, 8):
        resumed.take_step(random_batch(step), step)
    assert bits(resumed) == bits(whole)


def test_two_runs_have_the_same_bits() -> None:
    pytest.importorskip("bitsandbytes")
    arms = [make_arm(model(), "train: all", optimizer="adamw-8bit") for _ in range(2)]
    for arm in arms:
        for step in range(3):
            arm.take_step(random_batch(step), step)
    assert bits(arms[0]) == bits(arms[1])
