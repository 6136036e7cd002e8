"""A run folder that is what it says holds; each thing that is not is found."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from frostline.experiment.verify import Finding, verify_run
from frostline.report import render_report, write_report
from frostline.stats import write_summary
from frostline.storage.sealed import seal
from tests.builders.experiments import run_tiny, write_experiment

ARMS = {
    "full": {"train": "all"},
    "freeze": {"train": ["attn.qkv@50%:"]},
    "gradual": {"train": ["attn@-1:"], "changes": [{"at": 2, "thaw": ["mlp@-1:"]}]},
    "lora": {"lora": {"rank": 2, "targets": ["attn.qkv"]}},
}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an experiment whose run saved all its models."""
    folder = tmp_path_factory.mktemp("whole")
    targets = ["attn.o"] if request.param == "gpt2" else ["attn.qkv"]
    arms = ARMS | {"lora": {"lora": {"rank": 2, "targets": targets}}}
    recipe = write_experiment(folder, request.param, arms=arms, save=list(arms), seeds=[0])
    run_tiny(recipe, folder / "run")
    write_summary(folder / "run")
    write_report(folder / "run")
    return folder


def verify(folder: Path) -> list[Finding]:
    return verify_run(folder / "run", folder / "cache", say=lambda text: None, render_report=render_report)


def broken(findings: list[Finding]) -> list[str]:
    return [f"{finding.what}: {finding.sentence}" for finding in findings if finding.holds is not True]


def test_a_whole_run_holds_in_every_point(whole: Path) -> None:
    findings = verify(whole)
    assert broken(findings) == []
    assert {finding.what for finding in findings} == {
        "recipe", "journal", "pairing", "frozen weights", "checkpoints", "model and corpus", "order",
        "configuration and tokens",
        "trained model full", "trained model freeze", "trained model gradual", "trained model lora", "summary.json",
        "report.html",
    }  # fmt: skip


def change_recipe(run: Path) -> None:
    path = run / "experiment.yaml"
    path.write_text(path.read_text().replace("margin_nats: 0.05", "margin_nats: 0.5"))


def change_weight_file(run: Path) -> None:
    path = run / "checkpoints" / "freeze" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))


def change_frozen_weight_and_its_seal(run: Path) -> None:
    change_weights(run, first=True)


def change_trained_weight_and_its_seal(run: Path) -> None:
    change_weights(run, first=False)


def change_weights(run: Path, *, first: bool) -> None:
    """As someone would who also writes the manifest anew."""

    folder = run / "checkpoints" / "freeze"
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    names = sorted(
        name for name in tensors if ("embed" in name or "wte" in name) == first and ("attn" in name) != first
    )
    chosen = [
        name for name in names if first or any(key in name for key in ("3.self_attn.q_proj", "3.attn.c_attn.weight"))
    ]
    tensors[chosen[0]] = tensors[chosen[0]] + torch.full_like(tensors[chosen[0]], 0.5)
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    (folder / "facts.json").unlink()
    moved = run / "moved"
    folder.rename(moved)

    def write(target: Path) -> dict[str, int | str]:
        shutil.copytree(moved, target, dirs_exist_ok=True)
        return {}

    seal(run / "checkpoints", "freeze", write)
    shutil.rmtree(moved)


def change_journal(file: str, kind: str, key: str, value: object) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        path = run / "journal" / file
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        next(line for line in lines if line["kind"] == kind)[key] = value
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    return change


def change_summary(run: Path) -> None:
    values = json.loads((run / "summary.json").read_text())
    values["answer"] = ["All is well."]
    (run / "summary.json").write_text(json.dumps(values))


def change_report(run: Path) -> None:
    (run / "report.html").write_text((run / "report.html").read_text() + "<!-- -->")


FREEZE = "variant0-seed0-freeze.jsonl"


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (change_recipe, "recipe"),
        (change_weight_file, "checkpoints: .*model.safetensors"),
        (change_frozen_weight_and_its_seal, "trained model freeze: Frozen, and yet not the base model's"),
        (change_trained_weight_and_its_seal, "trained model freeze: Its trained weights are not"),
        (change_journal(FREEZE, "ArmStarted", "initial_sha256", "ab"), "pairing"),
        (change_journal(FREEZE, "StepTaken", "windows_sha256", "ab"), "order"),
        (change_journal(FREEZE, "StepTaken", "loss_nats", 1.0), "summary.json"),
        (change_journal(FREEZE, "FrozenChecked", "moved", ["a"]), "frozen weights"),
        (
            change_journal("run.jsonl", "VariantPrepared", "model_sha256", "ab"),
            "model and corpus: Not what it was: the model",
        ),
        (change_summary, "summary.json"),
        (change_report, "report.html"),
    ],
)
def test_what_is_not_as_it_was_is_found(whole: Path, tmp_path: Path, damage: Callable[[Path], None], what: str) -> None:
    shutil.copytree(whole / "run", tmp_path / "run")
    shutil.copytree(whole / "cache", tmp_path / "cache")
    damage(tmp_path / "run")
    found = "\n".join(broken(verify(tmp_path)))
    assert re.search(what, found), found


def test_what_cannot_be_loaded_is_said_to_be_unchecked(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "run", tmp_path / "run")
    path = tmp_path / "run" / "experiment.yaml"
    text = path.read_text()
    path.write_text(text.replace("/text.txt", "/gone.txt"))
    findings = {finding.what: finding for finding in verify(tmp_path)}
    assert findings["model and corpus"].holds is None
    assert "cannot be loaded" in findings["model and corpus"].sentence
