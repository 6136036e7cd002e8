"""A folder that plain transformers loads: the base's bytes but for what trained, and the run's own loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from frostline.errors import FrostlineError
from frostline.export import exporting, losses
from frostline.run_folder import kept_weights_folder, name_of_arm
from tests.builders.exports import changed, exported, keep_run, loss_by_hand, own_loss, plain, raw_tensors

TRAINED = {
    *(f"model.layers.{layer}.self_attn.{side}_proj.weight" for layer in (2, 3) for side in "qkv"),
    *(f"model.layers.3.{norm}_layernorm.weight" for norm in ("input", "post_attention")),
}


def test_all_but_what_trained_has_the_bytes_order_and_files_of_the_base(narrow: Path, tmp_path: Path) -> None:
    exported(narrow, "freeze", "folder", tmp_path / "out", seed=1)
    base = narrow.parent / "model"
    assert len(list(base.glob("*.safetensors"))) > 2
    assert changed(tmp_path / "out", base) == TRAINED
    for name in ("model.safetensors.index.json", "config.json", "generation_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (base / name).read_bytes()
    kept = load_file(kept_weights_folder(narrow, name_of_arm(0, 1, "freeze")) / "tensors-0000.safetensors")
    written = raw_tensors(tmp_path / "out")
    for name in TRAINED:
        rounded = kept[f"weight/{name}"].to(torch.bfloat16).view(torch.uint8)
        assert written[name][2] == rounded.numpy().tobytes()


def test_each_seed_is_exported_and_gives_its_own_loss_in_plain_transformers(narrow: Path, tmp_path: Path) -> None:
    found_losses = []
    for seed in (0, 1):
        out = tmp_path / str(seed)
        found = exported(narrow, "freeze", "folder", out, seed=seed, dtype="float32")
        found_losses.append(loss_by_hand(narrow, plain(out)))
        assert found_losses[-1] == pytest.approx(own_loss(narrow, "freeze", seed), abs=1e-5)
        assert found.loss_nats == pytest.approx(found_losses[-1], abs=1e-5)
    assert abs(found_losses[0] - found_losses[1]) > 1e-4


def test_float32_keeps_what_was_trained_and_casts_nothing_else(narrow: Path, tmp_path: Path) -> None:
    exported(narrow, "freeze", "folder", tmp_path / "out", dtype="float32")
    new, old = raw_tensors(tmp_path / "out"), raw_tensors(narrow.parent / "model")
    assert {name for name, own in new.items() if own[1] == "F32"} == TRAINED
    assert all(new[name] == old[name] for name in old.keys() - TRAINED)
    assert plain(tmp_path / "out").config.dtype == torch.float32


@pytest.mark.parametrize("arm", ["late", "lora"])
def test_what_was_kept_as_a_model_or_as_adapters_becomes_a_folder(narrow: Path, tmp_path: Path, arm: str) -> None:
    exported(narrow, arm, "folder", tmp_path / "out", dtype="float32")
    assert loss_by_hand(narrow, plain(tmp_path / "out")) == pytest.approx(own_loss(narrow, arm), abs=1e-5)
    names = {name for name, own in raw_tensors(tmp_path / "out").items() if own[1] == "F32"}
    late = {"model.layers.3.self_attn.q_proj.weight", "model.layers.3.mlp.up_proj.weight"}
    assert names == late if arm == "late" else len(names) == 16


@pytest.mark.parametrize("arm", ["part", "embed", "lora"])
def test_a_fused_or_tied_matrix_is_written_whole(fused: Path, tmp_path: Path, arm: str) -> None:
    exported(fused, arm, "folder", tmp_path / "out")
    names = changed(tmp_path / "out", fused.parent / "model")
    assert loss_by_hand(fused, plain(tmp_path / "out")) == pytest.approx(own_loss(fused, arm), abs=1e-5)
    assert (
        names
        == {
            "part": {f"transformer.h.{layer}.attn.c_attn.weight" for layer in (2, 3)},
            "embed": {"transformer.wte.weight", "transformer.wpe.weight"},
            "lora": {f"transformer.h.{layer}.attn.c_proj.weight" for layer in range(4)},
        }[arm]
    )


def test_frozen_columns_of_a_fused_matrix_keep_the_bases_bytes(fused: Path, tmp_path: Path) -> None:
    exported(fused, "part", "folder", tmp_path / "out")
    name = "transformer.h.2.attn.c_attn.weight"
    new, old = (load_file(folder / "model.safetensors")[name] for folder in (tmp_path / "out", fused.parent / "model"))
    width = new.shape[1] // 3
    assert torch.equal(new[:, width:], old[:, width:])
    assert not torch.equal(new[:, :width], old[:, :width])


def test_stacked_experts_are_written_as_the_tensors_that_the_base_has(tmp_path: Path) -> None:
    run = keep_run(tmp_path, "mixtral", arms={"last": {"train": ["mlp.up@-1"]}}, seeds=[0], save={"last": "all"})
    exported(run, "last", "folder", tmp_path / "out")
    assert changed(tmp_path / "out", tmp_path / "model")
    assert all("layers.3" in name for name in changed(tmp_path / "out", tmp_path / "model"))
    assert loss_by_hand(run, plain(tmp_path / "out")) == pytest.approx(own_loss(run, "last"), abs=1e-5)


@pytest.mark.parametrize("when", ["_folder", "write_card", "summary_in_its_time"])
def test_an_export_that_is_interrupted_leaves_nothing(
    narrow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, when, stop)
    with pytest.raises(KeyboardInterrupt):
        exported(narrow, "freeze", "folder", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_model_with_another_loss_than_the_runs_is_refused(
    narrow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "held_out_loss", lambda *given: own_loss(narrow, "freeze") + 0.01)
    with pytest.raises(FrostlineError, match="nothing is kept"):
        exported(narrow, "freeze", "folder", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "patch"])
def test_a_loss_that_rounding_moves_is_told_with_what_keeps_it(
    narrow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(losses, "ROUNDING_NATS", 0.0)
    monkeypatch.setattr(losses, "SAME_NATS", {"fp32": 2e-6})  # what rounds tiny weights moves the loss little
    found = exported(narrow, "freeze", kind, tmp_path / "out")
    assert abs(found.loss_nats - found.run_loss_nats) > 2e-6
    (remark,) = found.remarks
    assert "rounded to the 16 bits of the base" in remark
    assert remark in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert not list((tmp_path / "out").glob(".*"))
    assert not exported(narrow, "freeze", kind, tmp_path / "wide", dtype="float32").remarks


def test_code_and_links_of_the_base_are_left_where_they_are(narrow: Path, tmp_path: Path) -> None:
    base, secret = narrow.parent / "model", tmp_path / "secret.md"
    secret.write_text("---\nlicense: secret\n---\n", encoding="utf-8")
    (base / "modeling_own.py").write_text("print('run')\n", encoding="utf-8")
    (base / "README.md").symlink_to(secret)
    try:
        exported(narrow, "freeze", "folder", tmp_path / "out")
    finally:
        (base / "modeling_own.py").unlink()
        (base / "README.md").unlink()
    assert list((tmp_path / "out").rglob("*.py")) == []
    assert "secret" not in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
