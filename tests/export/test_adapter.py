"""Adapters in PEFT's own format, loaded by PEFT onto the base."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from frostline.errors import FrostlineError
from frostline.export import exporting, losses
from tests.builders.exports import exported, keep_run, loss_by_hand, metadata, own_loss, plain

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
"""Of transformers, at what PEFT asks it."""


def test_peft_loads_it_onto_the_base_and_it_gives_the_runs_own_loss(narrow: Path, tmp_path: Path) -> None:
    found = exported(narrow, "lora", "adapter", tmp_path / "out", seed=1)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "README.md"}
    loaded = PeftModel.from_pretrained(plain(narrow.parent / "model"), str(tmp_path / "out"))
    own = own_loss(narrow, "lora", 1)
    assert found.loss_nats == pytest.approx(own, abs=1e-5)
    merged: object = loaded.merge_and_unload()
    assert isinstance(merged, PreTrainedModel)
    assert loss_by_hand(narrow, merged) == pytest.approx(own, abs=1e-5)
    assert metadata(tmp_path / "out")["library_name"] == "peft"


def test_merged_by_peft_or_by_frostline_it_is_the_same_model(narrow: Path, tmp_path: Path) -> None:
    exported(narrow, "lora", "adapter", tmp_path / "adapter")
    exported(narrow, "lora", "folder", tmp_path / "folder", dtype="float32")
    merged = PeftModel.from_pretrained(plain(narrow.parent / "model"), str(tmp_path / "adapter")).merge_and_unload()
    ours = plain(tmp_path / "folder").state_dict()
    for name, value in merged.state_dict().items():
        torch.testing.assert_close(value, ours[name], rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("arm", "words"), [("part", "Export it as a folder or as a patch"), ("lora", "save={lora: all}")]
)
def test_other_arms_have_none(fused: Path, tmp_path: Path, arm: str, words: str) -> None:
    with pytest.raises(FrostlineError) as refused:
        exported(fused, arm, "adapter", tmp_path / "out")
    assert words in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kept", ["all", "model"])
def test_merged_after_training_in_bf16_it_is_proved_in_fp32(
    kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = {"steps": 4, "batch": 2, "learning_rate": 0.05, "precision": "bf16", "untimed_steps": 1}
    arms = {"full": {"train": "all"}, "lora": {"lora": {"rank": 4, "targets": ["attn.qkv", "mlp"]}}}
    run = keep_run(tmp_path, "llama", training=training, arms=arms, save={"lora": kept}, seeds=[0])
    monkeypatch.setitem(losses.SAME_NATS, "bf16", 0.0)  # of so small a model the two differ by little
    found = exported(run, "lora", "folder", tmp_path / "out")
    assert found.loss_nats != found.run_loss_nats
    assert "In fp32 both have" in found.remarks[0]
    told = float(found.remarks[0].split("both have ")[1].split(" nats")[0])
    assert loss_by_hand(run, plain(tmp_path / "out")) == pytest.approx(told, abs=1e-4)
    patch = exported(run, "lora", "patch", tmp_path / "patch")
    assert patch.remarks == found.remarks

    monkeypatch.setattr(exporting._Work, "loss_in_fp32_as_kept", lambda work, beside: told + 0.001)
    with pytest.raises(FrostlineError, match="nothing is kept"):
        exported(run, "lora", "folder", tmp_path / "not this")
    assert not (tmp_path / "not this").exists()
