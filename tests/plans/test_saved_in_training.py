"""Does a model that is saved in the middle of training hold whole matrices, whoever saves it, and go on from them?"""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, Trainer, TrainingArguments

from frostline.plans import AppliedPlan, Plan
from tests.builders.models import tiny_model
from tests.plans.test_apply import Windows, logits, raw, train

FAMILIES = ["gpt2", "gpt_neox", "bloom", "phi3"]
PLAN = Plan.parse("train: [attn.q@50%:, mlp.down@-1]")


def loaded(folder: Path) -> PreTrainedModel:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert isinstance(model, PreTrainedModel)
    model.eval()
    return model


def trainer_of(model: PreTrainedModel, folder: Path, *, steps: int = 4) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        weight_decay=0.1,
        lr_scheduler_type="constant",
        report_to=[],
        save_strategy="steps",
        save_steps=2,
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    return Trainer(model=model, args=arguments, train_dataset=Windows())


def trained_model(family: str) -> tuple[PreTrainedModel, AppliedPlan]:
    model = tiny_model(family)
    applied = PLAN.apply(model)
    train(model, [parameter for _, parameter in applied.trainable_parameters()])
    return model, applied


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return list(left) == list(right) and all(raw(value) == raw(right[name]) for name, value in left.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_trainer_saves_is_the_trained_model_and_its_frozen_rows_are_those_of_the_start(
    family: str, tmp_path: Path
) -> None:
    model = tiny_model(family)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    applied = PLAN.apply(model)
    trainer = trainer_of(model, tmp_path / "trainer")
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    expected = logits(model.eval())
    for folder in (tmp_path / "saved", tmp_path / "trainer" / "checkpoint-4"):
        assert raw(logits(loaded(folder))) == raw(expected), folder
    found = loaded(tmp_path / "saved").state_dict()
    assert found.keys() == start.keys()
    moved = {
        portion.name
        for portion in applied.resolved.portions
        if raw(portion.view_of(found[portion.parameter])) != raw(portion.view_of(start[portion.parameter]))
    }
    assert moved == set(applied.resolved.phases[0].trained)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_the_trainer_goes_on_from_its_checkpoint_as_if_it_had_not_stopped(family: str, tmp_path: Path) -> None:
    straight = tiny_model(family)
    PLAN.apply(straight)
    trainer_of(straight, tmp_path / "straight").train()
    stopped = tiny_model(family)
    PLAN.apply(stopped)
    trainer_of(stopped, tmp_path / "stopped", steps=2).train()
    resumed = tiny_model(family)
    applied = PLAN.apply(resumed)
    trainer_of(resumed, tmp_path / "stopped").train(resume_from_checkpoint=True)
    assert same(resumed.state_dict(), straight.state_dict())
    assert applied.verify().moved == ()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_state_dict_is_that_of_the_plain_model(family: str) -> None:
    model, applied = trained_model(family)
    names, held = list(tiny_model(family).state_dict()), model.state_dict()
    assert list(held) == names
    assert not any(value.requires_grad for value in held.values())
    applied.release()
    assert same(held, model.state_dict())


def test_a_shard_of_each_matrix_is_written_whole(tmp_path: Path) -> None:
    model, _ = trained_model("gpt2")
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    assert raw(logits(loaded(tmp_path))) == raw(logits(model))


def test_a_file_of_torch_and_one_of_safetensors_hold_the_state_dict(tmp_path: Path) -> None:
    model, _ = trained_model("gpt_neox")
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    for held in (torch.load(tmp_path / "weights.pt", weights_only=True), load_file(tmp_path / "weights.safetensors")):
        plain = tiny_model("gpt_neox", seed=1)
        plain.load_state_dict(held)
        assert raw(logits(plain)) == raw(logits(model))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("assign", [False, True])
def test_a_whole_state_dict_is_divided_where_it_is_loaded(family: str, assign: bool) -> None:
    model, _ = trained_model(family)
    held = {name: value.clone() for name, value in model.state_dict().items()}
    other = tiny_model(family, seed=1)
    PLAN.apply(other)
    names = {name for name, _ in other.named_parameters()}
    result = other.load_state_dict(held, assign=assign)
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    assert names <= {name for name, _ in other.named_parameters()}  # what is assigned is no longer tied
    assert raw(logits(other)) == raw(logits(model))
    assert same(model.state_dict(), held)


def test_a_matrix_that_is_missing_or_of_another_shape_is_told_as_torch_tells_it() -> None:
    model, _ = trained_model("gpt2")
    held = model.state_dict()
    held["transformer.h.2.attn.c_attn.weight"] = held["transformer.h.2.attn.c_attn.weight"][:, :-1]
    with pytest.raises(RuntimeError, match=r"size mismatch for transformer\.h\.2\.attn\.c_attn\.weight"):
        model.load_state_dict(held)
    del held["transformer.h.2.attn.c_attn.weight"]
    assert "c_attn" in str(model.load_state_dict(held, strict=False).missing_keys)


def test_an_optimizer_still_gets_the_parts_alone() -> None:
    model = tiny_model("gpt2")
    values = sum(parameter.numel() for parameter in model.parameters())
    applied = PLAN.apply(model)
    model.state_dict()
    assert sum(parameter.numel() for parameter in model.parameters()) == values
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert {id(parameter) for parameter in trained} == {id(own) for _, own in applied.trainable_parameters()}


def test_a_deep_copy_has_a_state_dict_of_its_own() -> None:
    model, applied = trained_model("gpt2")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copied = copy.deepcopy(model)
    assert same(copied.state_dict(), before)
    copied.load_state_dict(tiny_model("gpt2", seed=1).state_dict())
    assert same(model.state_dict(), before)
    assert raw(logits(copied)) == raw(logits(tiny_model("gpt2", seed=1)))
    applied.release()
    assert list(copied.state_dict()) == list(before)


def test_once_released_nothing_is_left_of_it() -> None:
    model, applied = trained_model("gpt2")
    applied.release()
    owner = model.get_submodule("transformer.h.2.attn.c_attn")
    assert not owner._state_dict_hooks
    assert not owner._load_state_dict_pre_hooks
    model.load_state_dict(tiny_model("gpt2", seed=1).state_dict())
    assert raw(logits(model)) == raw(logits(tiny_model("gpt2", seed=1)))


def test_accelerate_saves_the_whole_model_and_loads_it_again(tmp_path: Path) -> None:
    model, applied = trained_model("gpt_neox")
    optimizer = torch.optim.AdamW([parameter for _, parameter in applied.trainable_parameters()], lr=1e-2)
    accelerator = Accelerator(cpu=True)
    prepared, _ = accelerator.prepare(model, optimizer)
    accelerator.save_model(prepared, str(tmp_path / "model"))
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        assert not any("parametrizations" in name for name in file.keys())  # noqa: SIM118  # it cannot be iterated
    accelerator.save_state(str(tmp_path / "state"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, [parameter for _, parameter in applied.trainable_parameters()])
    assert not same(model.state_dict(), before)
    accelerator.load_state(str(tmp_path / "state"))
    assert same(model.state_dict(), before)


def test_values_of_a_state_dict_that_keeps_its_graph_can_be_differentiated() -> None:
    model, applied = trained_model("gpt2")
    model.state_dict(keep_vars=True)["transformer.h.2.attn.c_attn.weight"].sum().backward()
    trained = dict(applied.trainable_parameters())
    part = next(own for name, own in trained.items() if "h.2.attn.c_attn.weight" in name)
    assert part.grad is not None
