"""What cannot be exported is told in one sentence, and nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch

from frostline.errors import FrostlineError, ModelError
from frostline.export.losses import CheckedLoss, Expected, check_loss
from tests.builders.exports import exported


def told(run: Path, out: Path, arm: str = "part", seed: int | None = None) -> str:
    with pytest.raises(FrostlineError) as refused:
        exported(run, arm, "folder", out, seed=seed)
    sentence = str(refused.value)
    assert len(sentence) < 400
    assert "\n" not in sentence
    return sentence


def test_an_arm_or_a_seed_that_is_not_there_is_told_with_those_that_are(narrow: Path, tmp_path: Path) -> None:
    assert "the arms are full, freeze, late, lora" in told(narrow, tmp_path / "out", "freez")
    assert "the seeds are 0, 1" in told(narrow, tmp_path / "out", "freeze", 7)
    assert not (tmp_path / "out").exists()


def test_weights_that_were_not_kept_are_told_with_how_to_keep_them(narrow: Path, tmp_path: Path) -> None:
    sentence = told(narrow, tmp_path / "out", "full")
    assert "those of late (seed 0), freeze (every seed), lora (every seed) were" in sentence
    assert "--set 'save={full: all}'" in sentence
    assert "the weights of late, seed 1, were not kept" in told(narrow, tmp_path / "out", "late", 1)


@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_what_is_there_is_not_overwritten(fused: Path, tmp_path: Path, there: str) -> None:
    out = tmp_path / "out"
    if there == "file":
        out.write_text("mine", encoding="utf-8")
    elif there == "folder":
        (out / "inner").mkdir(parents=True)
    else:
        out.symlink_to(tmp_path / "nowhere")
    assert "an export overwrites nothing" in told(fused, out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def base_changed(folder: Path) -> None:
    file = folder / "model" / "model.safetensors"
    tensors = safetensors.torch.load_file(file)
    tensors["transformer.ln_f.bias"][0] += 1
    safetensors.torch.save_file(tensors, file, {"format": "pt"})


def base_gone(folder: Path) -> None:
    (folder / "model").rename(folder / "moved")


def text_changed(folder: Path) -> None:
    (folder / "text.txt").write_text((folder / "text.txt").read_text(encoding="utf-8") + " w1 w2 w3", encoding="utf-8")


def unfinished(folder: Path) -> None:
    file = folder / "run" / "journal" / "run.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(lines[:-1]), encoding="utf-8")


def weights_changed(folder: Path) -> None:
    (file,) = (folder / "run" / "checkpoints" / "_weights" / "variant0-seed0-part").glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (base_changed, "is not what it was when the run was begun"),
        (base_gone, "--from FOLDER"),
        (text_changed, "the corpus is not what it was"),
        (unfinished, "the run has not finished"),
        (weights_changed, "its content is not what was written"),
    ],
)
def test_a_run_that_lost_something_is_told(
    fused: Path, tmp_path: Path, change: Callable[[Path], None], words: str
) -> None:
    shutil.copytree(fused.parent, tmp_path / "copy")
    change(tmp_path / "copy")
    assert words in told(tmp_path / "copy" / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rounding_is_told_from_a_mistake() -> None:
    rounded, exact = Expected(2.0, "fp32", True, ()), Expected(2.0, "fp32", False, ())
    never: Callable[[], float] = lambda: pytest.fail("nothing is to be loaded again")  # noqa: E731
    assert check_loss(rounded, 2.0009, never) == CheckedLoss(2.0009, 2.0)
    assert "--dtype float32" in check_loss(rounded, 2.01, lambda: 2.00001).remark
    with pytest.raises(FrostlineError, match="nothing is kept"):
        check_loss(rounded, 2.01, lambda: 2.01)
    with pytest.raises(FrostlineError, match="nothing is kept"):
        check_loss(exact, 2.0009, never)
    with pytest.raises(FrostlineError, match="nothing is kept"):
        check_loss(exact, float("nan"), never)
    assert (
        "frozen matrices in nf4"
        in check_loss(Expected(2.0, "fp32", False, ("frozen matrices in nf4",)), 2.1, never).remark
    )


def test_code_of_a_base_asks_for_trust(fused: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="needs no code of its own"):
        from frostline.export import Choice, Wish, export_arm

        export_arm(
            Choice(fused, "part"),
            Wish("folder", tmp_path / "out"),
            fused.parent / "cache",
            draw=lambda arm: "",
            trusted_code="sha256:0",
        )
