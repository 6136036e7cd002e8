"""Is what a plan cannot go along with refused in one sentence, before anything is trained?"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, Trainer

from frostline import FrostlineError
from frostline.errors import LONGEST_SENTENCE
from frostline.integrations.refusals import refuse_sharding
from frostline.integrations.transformers import PlanCallback
from tests.builders.models import tiny_model
from tests.builders.trainers import raw, trainer_of

PLAN = "train: [attn.q@50%:]; at 2 thaw: [mlp.up@0]; at 3 freeze: [attn.q@-1]"


def begun(folder: Path, plan: str = PLAN, model: PreTrainedModel | None = None, **changed: Any) -> Trainer:
    """A Trainer of three or more steps, with a plan."""
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, **changed}
    return trainer_of(tiny_model("gpt2") if model is None else model, folder, [PlanCallback(plan)], **settings)


def with_peft() -> Any:
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(tiny_model("llama"), peft.LoraConfig(r=2, target_modules=["q_proj"]))


def own_optimizer(folder: Path) -> None:
    model = tiny_model("gpt2")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    begun(folder, model=model, optimizers=(optimizer, None)).train()


def added_late(folder: Path) -> None:
    trainer = trainer_of(tiny_model("gpt2"), folder, max_steps=4)
    trainer.add_callback(PlanCallback(PLAN))
    trainer.train()


def two_plans(folder: Path) -> None:
    trainer_of(tiny_model("llama"), folder, [PlanCallback(PLAN), PlanCallback("train: [mlp]")], max_steps=4)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks for it
@pytest.mark.parametrize(
    ("attempt", "sentence"),
    [
        (lambda folder: begun(folder, "freeze: [all]"), "trains nothing"),
        (lambda folder: begun(folder, "train: [attn.x]"), "attn.q"),
        (lambda folder: begun(folder, max_steps=2).train(), "a change at step 2 never happens in 2 steps"),
        (
            lambda folder: begun(folder, "lora: rank 2, targets [attn.q]"),
            "a plan with 'lora' does not go into a Trainer",
        ),
        (lambda folder: begun(folder, model=with_peft()), "a plan and adapters of peft do not go together"),
        (lambda folder: begun(folder, model_init=lambda: tiny_model("gpt2")), "a plan cannot follow model_init"),
        (lambda folder: begun(folder, optim="adagrad").train(), "Adagrad makes its state before the first step"),
        (own_optimizer, "the optimizer (SGD) does not hold 'transformer.h.2.attn.c_attn.weight[attn.q]'"),
        (added_late, "the Trainer was made without it"),
        (two_plans, "another plan is at work on this model"),
    ],
)
def test_what_does_not_go_together_is_said(attempt: Callable[[Path], object], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(FrostlineError, match=re.escape(sentence)) as caught:
        attempt(tmp_path)
    assert len(str(caught.value)) <= LONGEST_SENTENCE


@pytest.mark.parametrize("kind", ["FSDP", "DeepSpeed"])
def test_weights_that_are_cut_up_are_refused(kind: str, tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    trainer = trainer_of(model, tmp_path)
    setattr(trainer, f"is_{kind.lower()}_enabled", True)  # what Accelerate has found out
    with pytest.raises(FrostlineError, match=f"a plan does not go into training by {kind}"):
        refuse_sharding(trainer, model)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint after two of four steps."""
    folder = tmp_path_factory.mktemp("of-a-plan")
    begun(folder).train()
    return folder / "checkpoint-2"


@pytest.mark.parametrize("plan", ["train: [attn.q@50%:]", "train: [attn.q@50%:]; at 2 thaw: [mlp.up@0]"])
def test_a_checkpoint_of_another_plan_is_refused_before_it_is_loaded(
    plan: str, checkpoint: Path, tmp_path: Path
) -> None:
    model = tiny_model("gpt2", seed=1)
    trainer = begun(tmp_path, plan, model)
    start = raw(model.state_dict())
    with pytest.raises(FrostlineError, match=r"is of another plan: 'train: \[attn\.q@50%:\]; at 2 thaw.*', not"):
        trainer.train(resume_from_checkpoint=str(checkpoint))
    assert raw(model.state_dict()) == start


def test_a_checkpoint_of_no_plan_is_refused(tmp_path: Path) -> None:
    trainer_of(tiny_model("gpt2"), tmp_path, max_steps=4, save_strategy="steps", save_steps=2).train()
    with pytest.raises(FrostlineError, match="was written without a plan"):
        begun(tmp_path).train(resume_from_checkpoint=True)


@pytest.mark.parametrize("damage", ["", "[]", '{"stateful_callbacks": {"PlanCallback": {"attributes": 3}}}'])
def test_a_damaged_state_is_no_traceback(damage: str, checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-2"
    folder.mkdir()
    (folder / "trainer_state.json").write_text(damage)
    with pytest.raises(FrostlineError, match="the checkpoint"):
        begun(tmp_path / "new").train(resume_from_checkpoint=str(folder))


def test_a_checkpoint_whose_frozen_weights_are_others_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-2"
    folder.mkdir()
    for file in checkpoint.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    state = json.loads((folder / "trainer_state.json").read_text())
    frozen = state["stateful_callbacks"]["PlanCallback"]["attributes"]["saved"]["frozen_sha256"]
    frozen["transformer.ln_f.weight"] = "0" * 64
    (folder / "trainer_state.json").write_text(json.dumps(state))
    with pytest.raises(FrostlineError, match=r"moved in the checkpoint of step 2: 'transformer\.ln_f\.weight'"):
        begun(tmp_path / "new").train(resume_from_checkpoint=str(folder))
