"""An arm that goes on from its checkpoint is the arm that never stopped, to the last bit."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from frostline.engine import Arm
from frostline.engine import checkpoint as checkpoint_module
from frostline.engine.checkpoint import read_state, restore, state_of, write_state
from frostline.errors import RunFolderError
from frostline.plans import Plan
from frostline.recipe import TrainingSettings
from tests.builders.batches import random_batch
from tests.builders.engines import make_fast_arm, make_pair
from tests.builders.models import tiny_model

GRADUAL = "train: [attn@-1:]; at 2 thaw: [mlp@-2:]; at 4 thaw: [attn@-3:]"
REFROZEN = "train: [all@:2]; at 2 freeze: [all@:1]; at 5 freeze: [mlp@1]"
PLANS = [
    "train: all",
    "train: [attn.qkv@50%:]",
    "freeze: [attn@50%:]",
    GRADUAL,
    REFROZEN,
    "train: [embed[0, 7:9], norm]; at 2 thaw: [embed[40:]]; at 4 freeze: [embed[7]]",
    "lora: rank 2, targets [attn.o@-2:]",
]
STEPS = 6
STOPS = (1, 3, 5)


def go_on(arm: Arm, first: int, last: int) -> list[tuple[float, float]]:
    outcomes = [arm.take_step(random_batch(step % 3), step) for step in range(first, last)]
    return [(outcome.loss_nats, outcome.gradient_norm) for outcome in outcomes]


def bits(arm: Arm) -> dict[str, torch.Tensor]:
    """Weights and optimizer state."""
    return {name: tensor.clone() for name, tensor in state_of(arm, STEPS).tensors.items()} | {
        f"all/{name}": value.detach().clone() for name, value in arm.model.named_parameters()
    }


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("plan", PLANS)
def test_a_restored_arm_goes_on_with_the_same_bits(family: str, plan: str, tmp_path: Path) -> None:
    base = tiny_model(family)
    arms: list[tuple[Arm, ...]] = [make_pair(copy.deepcopy(base), plan) for _ in (0, *STOPS)]
    for straight, *begun_again in zip(*arms, strict=True):
        expected: list[tuple[float, float]] = []
        for stop in (*STOPS, STEPS):
            expected += go_on(straight, len(expected), stop)
            (tmp_path / straight.name / str(stop)).mkdir(parents=True)
            write_state(state_of(straight, stop), tmp_path / straight.name / str(stop))
        assert straight.applied.verify().moved == ()
        for stop, arm in zip(STOPS, begun_again, strict=True):
            restore(arm, read_state(tmp_path / straight.name / str(stop)))
            assert go_on(arm, stop, STEPS) == expected[stop:], stop
            assert_equal(bits(arm), bits(straight))
            assert arm.applied.verify() == straight.applied.verify()


@pytest.mark.parametrize("training", [{"accumulation": 2}, {"decay": "cosine", "warmup": 2}, {"checkpointing": True}])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_accumulation_schedules_dropout_and_bf16_go_on_with_the_same_bits(
    training: dict[str, object], precision: str, tmp_path: Path
) -> None:
    base = tiny_model("gpt2", attn_pdrop=0.2, resid_pdrop=0.2, embd_pdrop=0.2)
    plan = "train: [attn.q@50%:, mlp@-1:]"
    settings = TrainingSettings.model_validate({"steps": 10, "learning_rate": 1e-2, **training})
    straight, stopped, begun_again = (
        make_fast_arm(copy.deepcopy(base), Plan.parse(plan), settings, precision=precision) for _ in range(3)
    )
    expected = go_on(straight, 0, STEPS)
    go_on(stopped, 0, 4)
    write_state(state_of(stopped, 4), tmp_path)
    restore(begun_again, read_state(tmp_path))
    assert go_on(begun_again, 4, STEPS) == expected[4:]
    assert_equal(bits(begun_again), bits(straight))


def test_only_what_trains_is_written(tmp_path: Path) -> None:
    arm, _ = make_pair(tiny_model("llama"), "train: [attn.q@-1:]")
    go_on(arm, 0, 2)
    state = state_of(arm, 2)
    trained = [name for name, _ in arm.applied.trainable_parameters()]
    assert sorted(state.tensors) == sorted(
        f"{key}/{name}" for name in trained for key in ("weight", "exp_avg", "exp_avg_sq", "step")
    )
    assert all(tensor.dtype == torch.float32 for tensor in state.tensors.values())
    write_state(state, tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json"}


def test_a_large_state_is_cut_into_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "SHARD_BYTES", 10_000)
    arm, _ = make_pair(tiny_model("llama"), "train: all")
    go_on(arm, 0, 1)
    state = state_of(arm, 1)
    write_state(state, tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    assert_equal(read_state(tmp_path).tensors, state.tensors)


def test_what_was_moved_while_frozen_is_still_found_after_a_restore(tmp_path: Path) -> None:
    arm, _ = make_pair(tiny_model("llama"), REFROZEN)
    go_on(arm, 0, 4)
    with torch.no_grad():  # a defect: the first layer has been frozen since step 2
        dict(arm.model.named_parameters())["model.layers.0.mlp.up_proj.weight"].add_(1)
    write_state(state_of(arm, 4), tmp_path)
    again, _ = make_pair(tiny_model("llama"), REFROZEN)
    restore(again, read_state(tmp_path))
    assert again.applied.verify().moved == ("model.layers.0.mlp.up_proj.weight",)


@pytest.mark.parametrize("plan", ["train: [attn.k@-1:]", "train: [attn.q@-2:]"])
def test_the_checkpoint_of_another_arm_is_refused(plan: str, tmp_path: Path) -> None:
    arm, _ = make_pair(tiny_model("llama"), "train: [attn.q@-1:]")
    go_on(arm, 0, 2)
    write_state(state_of(arm, 2), tmp_path)
    other, _ = make_pair(tiny_model("llama"), plan)
    with pytest.raises(RunFolderError, match="does not fit"):
        restore(other, read_state(tmp_path))


def test_the_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    arm, _ = make_pair(tiny_model("llama"), "train: [attn.q@-1:]")
    go_on(arm, 0, 2)
    write_state(state_of(arm, 2), tmp_path)
    changed = tiny_model("llama")
    with torch.no_grad():
        next(iter(changed.parameters())).add_(1)
    other, _ = make_pair(changed, "train: [attn.q@-1:]")
    with pytest.raises(RunFolderError, match="not the base model's"):
        restore(other, read_state(tmp_path))
