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
from transformers import AutoModelForCausalLM

from frostline.experiment.verify import Finding, verify_run
from frostline.machine import describe_machine
from frostline.measures import weights_sha256
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
        "recipe", "journal", "pairing", "frozen weights", "steps", "checkpoints", "model and corpus", "order",
        "configuration and tokens",
        "trained model full", "trained model freeze", "trained model gradual", "trained model lora", "summary.json",
        "report.html",
    }  # fmt: skip


def change_recipe(run: Path) -> None:
    path = run / "experiment.yaml"
    path.write_text(path.read_text().replace("margin_nats: null", "margin_nats: 0.5"))


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
    def change(tensors: dict[str, torch.Tensor]) -> None:
        names = sorted(
            name for name in tensors if ("embed" in name or "wte" in name) == first and ("attn" in name) != first
        )
        keys = ("3.self_attn.q_proj", "3.attn.c_attn.weight")
        chosen = next(name for name in names if first or any(key in name for key in keys))
        tensors[chosen] = tensors[chosen] + 0.5

    change_saved_model(run, "freeze", change)


def change_saved_model(run: Path, arm: str, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """As someone would who also writes the manifest anew."""
    folder = run / "checkpoints" / arm
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    (folder / "facts.json").unlink()
    moved = run / "moved"
    folder.rename(moved)

    def write(target: Path) -> dict[str, int | str]:
        shutil.copytree(moved, target, dirs_exist_ok=True)
        return {}

    seal(run / "checkpoints", arm, write)
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
        (
            change_journal(FREEZE, "ArmFinished", "steps", 5),
            "steps: freeze, seed 0, was to take 6; the journal has 6 and ends with 5",
        ),
        (change_journal(FREEZE, "FrozenChecked", "moved", ["a"]), "frozen weights"),
        (
            change_journal("run.jsonl", "VariantPrepared", "model_sha256", "ab"),
            "model and corpus: Not what it was: the model",
        ),
        (
            change_journal("run.jsonl", "VariantPrepared", "configuration_sha256", "ab"),
            "configuration and tokens: Not what it was: the model's configuration",
        ),
        (
            change_journal("run.jsonl", "VariantPrepared", "tokenizer_sha256", "ab"),
            "configuration and tokens: Not what it was: the tokenizer",
        ),
        (change_summary, "summary.json"),
        (change_report, "report.html"),
    ],
)
def test_what_is_not_as_it_was_is_found(whole: Path, tmp_path: Path, damage: Callable[[Path], None], what: str) -> None:
    damage(copied(whole, tmp_path))
    found = "\n".join(broken(verify(tmp_path)))
    assert re.search(what, found), found


def test_a_run_folder_that_cannot_be_written_to_is_checked_too(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [finding.what for finding in verify(whole)]
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr("frostline.experiment.verify.run_lock", lambda *_: pytest.fail("the folder was written to"))
    assert [finding.what for finding in verify(whole)] == expected


def test_what_cannot_be_loaded_is_said_to_be_unchecked(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "run", tmp_path / "run")
    path = tmp_path / "run" / "experiment.yaml"
    text = path.read_text()
    path.write_text(text.replace("text.txt", "gone.txt"))
    findings = {finding.what: finding for finding in verify(tmp_path)}
    assert findings["model and corpus"].holds is None
    assert "cannot be loaded" in findings["model and corpus"].sentence


def copied(whole: Path, folder: Path) -> Path:
    """The run folder in a copy of all: where it alone was moved, model and corpus are not found."""
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    return folder / "run"


def test_what_follows_from_versions_is_not_called_wrong_under_other_versions(whole: Path, tmp_path: Path) -> None:
    run = copied(whole, tmp_path)
    change_journal("run.jsonl", "VariantPrepared", "configuration_sha256", "ab")(run)
    change_journal("run.jsonl", "RunStarted", "environment", describe_machine() | {"transformers": "5.3.0"})(run)
    (found,) = [finding for finding in verify(tmp_path) if finding.what == "configuration and tokens"]
    assert found.holds is None
    assert "They cannot be compared: transformers was 5.3.0 and is" in found.sentence


def test_a_run_of_the_first_version_is_compared_in_what_its_journal_names(whole: Path, tmp_path: Path) -> None:
    run = copied(whole, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(whole / "model")
    first_sha256 = weights_sha256(model.named_parameters())
    for path in (run / "journal").iterdir():
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            for name in ("configuration_sha256", "tokenizer_sha256", "model_revision"):
                line.pop(name, None)
            line |= {name: first_sha256 for name in ("model_sha256", "initial_sha256") if name in line}
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    findings = {finding.what: finding for finding in verify(tmp_path)}
    assert findings["model and corpus"].holds
    assert findings["pairing"].holds
    assert findings["configuration and tokens"].holds is None
    assert "earlier Frostline" in findings["configuration and tokens"].sentence


def test_a_buffer_of_a_saved_model_is_the_base_models(tmp_path: Path) -> None:
    arms = {"last": {"train": ["mlp.down@-1:"]}}
    settings = ("training.steps=2", "measures.sampling.prompts=0")
    recipe = write_experiment(tmp_path, "glm4_moe", arms=arms, save=["last"], seeds=[0])
    run = run_tiny(recipe, tmp_path / "run", settings).run_folder
    assert not any(finding.holds is False for finding in verify(tmp_path))

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.layers.1.mlp.gate.e_score_correction_bias"] += 0.5

    change_saved_model(run, "last", change)
    found = "\n".join(broken(verify(tmp_path)))
    assert "Frozen, and yet not the base model's: model.layers.1.mlp.gate.e_score_correction_bias" in found
