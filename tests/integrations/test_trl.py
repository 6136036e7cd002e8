"""Does TRL's SFTTrainer train by a plan as Trainer does?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from huggingface_hub import constants
from transformers import PreTrainedModel

from frostline import FrostlineError
from frostline.integrations.transformers import PlanCallback
from tests.builders.models import tiny_model
from tests.builders.tokenizers import word_tokenizer, words
from tests.builders.trainers import COMMON, backward_passes, raw

trl = pytest.importorskip("trl")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # TRL has not followed transformers yet
PLAN = "train: [attn.q@50%:]; at 3 thaw: [mlp.up@-1]; at 5 freeze: [attn.q@-1]"


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)  # read from the environment long ago


def sft(model: PreTrainedModel, folder: Path, **changed: Any) -> Any:
    """An SFTTrainer with a plan; `changed` are its arguments, or its own."""
    tokenizer = word_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    own = {name: changed.pop(name) for name in ("peft_config",) if name in changed}
    rows = [{"prompt": words([start, start + 1]), "completion": words([start + 2, 5, 6])} for start in range(24)]
    settings = {**COMMON, "max_steps": 6, "save_strategy": "steps", "save_steps": 2, "bf16": False, **changed}
    return trl.SFTTrainer(
        model,
        trl.SFTConfig(output_dir=str(folder), **settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[PlanCallback(PLAN)],
        **own,
    )


def tiny(family: str, seed: int = 0) -> PreTrainedModel:
    return tiny_model(family, seed=seed, vocab_size=256, pad_token_id=203, eos_token_id=203)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_stopped_training_goes_on_with_the_same_bits(family: str, tmp_path: Path) -> None:
    model, other = tiny(family), tiny(family, seed=1)
    sft(model, tmp_path / "straight").train()
    checkpoint = tmp_path / "straight" / "checkpoint-4"
    sft(other, tmp_path / "resumed").train(resume_from_checkpoint=str(checkpoint))
    assert raw(other.state_dict()) == raw(model.state_dict())


def test_layers_below_get_no_backward_pass_though_trl_checkpoints_unasked(tmp_path: Path) -> None:
    model = tiny("llama")
    trainer = sft(model, tmp_path, max_steps=6, save_strategy="no")
    assert trainer.args.gradient_checkpointing
    reached = backward_passes(model)
    trainer.train()
    assert reached == {2, 3}


def test_adapters_beside_a_plan_are_refused(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    with pytest.raises(FrostlineError, match="a plan and adapters of peft do not go together"):
        sft(tiny("llama"), tmp_path, peft_config=peft.LoraConfig(r=2, target_modules=["q_proj"]))
