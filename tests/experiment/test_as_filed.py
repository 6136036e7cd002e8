"""A run on a bf16 file and a run on the same weights in fp32 are one run, to the byte."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment
from tests.builders.filed import write_both
from tests.builders.models import tiny_model

ARMS: dict[str, object] = {
    "full": {"train": "all"},
    "freeze": {"train": ["attn.qkv@50%:"]},
    "top": {"train": ["all@-1:"]},
    "gradual": {"train": ["mlp@-1:"], "changes": [{"at": 2, "thaw": ["attn@1:"]}, {"at": 4, "freeze": ["mlp"]}]},
    "lora": {"lora": {"rank": 2, "targets": ["attn.o@-2:"]}},
}


@pytest.mark.parametrize(
    ("family", "precision"), [("llama", "fp32"), ("gemma2", "fp32"), ("gpt2", "bf16"), ("gpt_neox", "bf16")]
)
def test_the_type_of_the_file_changes_no_record(family: str, precision: str, tmp_path: Path) -> None:
    folders = write_both(tmp_path, tiny_model(family))
    journals = []
    for folder in folders:
        recipe = write_experiment(
            tmp_path / f"of_{folder.name}", model={"source": str(folder)}, arms=ARMS, baseline="full", seeds=[0]
        )
        run = tmp_path / f"run_{folder.name}"
        run_tiny(recipe, run, (f"training.precision={precision}",))
        journals.append(journal_without_clock(run))
    narrow, wide = journals
    records, others = (journal.pop("run.jsonl") for journal in (narrow, wide))
    assert narrow == wide
    facts, same_facts = ({**lines[1], "model": ""} for lines in (records, others))
    assert facts["kind"] == "VariantPrepared"
    assert facts == same_facts


def test_types_that_are_mixed_in_a_file_change_no_record(tmp_path: Path) -> None:
    narrow, wide = write_both(tmp_path, tiny_model("llama"))
    tensors = load_file(wide / "model.safetensors")
    types = itertools.cycle((torch.bfloat16, torch.float32, torch.float16))
    # Rounded to its own type, which each keeps here and none there.
    mixed = {name: own.to(dtype) for (name, own), dtype in zip(tensors.items(), types, strict=False)}
    save_file(mixed, narrow / "model.safetensors", {"format": "pt"})
    save_file({name: own.float() for name, own in mixed.items()}, wide / "model.safetensors", {"format": "pt"})
    journals = []
    for folder in (narrow, wide):
        recipe = write_experiment(
            tmp_path / f"of_{folder.name}",
            model={"source": str(folder)},
            arms={name: ARMS[name] for name in ("full", "top")},
            seeds=[0],
        )
        run_tiny(recipe, tmp_path / f"run_{folder.name}")
        journals.append(journal_without_clock(tmp_path / f"run_{folder.name}"))
    facts = [journal.pop("run.jsonl")[1] for journal in journals]
    assert journals[0] == journals[1]
    assert facts[0]["model_sha256"] == facts[1]["model_sha256"]


@pytest.mark.parametrize("arm", ["top", "lora"])
def test_a_saved_model_is_that_of_fp32(arm: str, tmp_path: Path) -> None:
    models = []
    for folder in write_both(tmp_path, tiny_model("llama")):
        recipe = write_experiment(
            tmp_path / f"of_{folder.name}",
            model={"source": str(folder)},
            arms={arm: ARMS[arm]},
            seeds=[0],
            save=[arm],
        )
        run_tiny(recipe, tmp_path / f"run_{folder.name}")
        saved = tmp_path / f"run_{folder.name}" / "checkpoints" / arm
        models.append(AutoModelForCausalLM.from_pretrained(saved, dtype="auto"))
        assert models[-1].config.dtype == torch.float32
    narrow, wide = (model.state_dict() for model in models)
    assert all(torch.equal(narrow[name].float(), wide[name]) for name in wide)
