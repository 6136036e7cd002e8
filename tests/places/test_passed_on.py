"""A run folder that is passed on says nothing of whose computer it was made on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from frostline.report import write_report
from frostline.stats import write_summary
from frostline.text import without_home
from tests.builders.experiments import run_tiny, write_experiment

ARMS = {"full": {"train": "all"}, "freeze": {"train": ["attn@50%:"]}, "lora": {"lora": {"rank": 2, "targets": ["mlp"]}}}


def test_no_file_of_a_run_folder_has_the_home_the_project_or_the_cache_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home-of-someone"
    project = home / "some-project"
    recipe = write_experiment(
        project, layers=2, arms=ARMS, save=["full", "lora"], seeds=[0], vary={"model.source": ["model", "../other"]}
    )
    write_experiment(home / "elsewhere", layers=2)
    (home / "elsewhere" / "model").rename(home / "other")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(project)
    fail_in_the_arm(monkeypatch, f"no kernel for this in {home}/.cache/kernels, {project}/kernels")
    run = project / "runs" / "one"
    run_tiny(recipe, run)
    write_summary(run)
    write_report(run)
    files = {path.relative_to(run): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert {name.suffix for name in files} >= {".json", ".jsonl", ".yaml", ".html", ".txt", ".safetensors"}
    for private in (home.name, project.name, str(tmp_path)):
        assert [str(name) for name, content in files.items() if private.encode() in content] == []
    assert any(b"no kernel for this in ~/.cache/kernels, ./kernels" in content for content in files.values())


def fail_in_the_arm(monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    """Every second update of weights raises `message`, as a library would."""
    original, updates = torch.optim.AdamW.step, [0]

    def step(self: torch.optim.AdamW, *given: object, **named: object) -> object:
        updates[0] += 1
        if updates[0] == 5:
            raise RuntimeError(message)
        return original(self, *given, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("in HOME/x/y.py", "in ~/x/y.py"),
        ("'HOME': not a folder", "'~': not a folder"),
        ("HOME-of-another/x", "HOME-of-another/x"),
        ("HERE/x and HERE", "./x and ."),
    ],
)
def test_home_and_present_folder_are_named_by_their_signs(
    text: str, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "max", tmp_path / "max" / "project"
    here.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)

    def named(text: str) -> str:
        return text.replace("HOME", os.fspath(home)).replace("HERE", os.fspath(here))

    assert without_home(named(text)) == named(kept)


def test_a_home_that_is_the_whole_disk_is_no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/")
    monkeypatch.chdir(tmp_path)
    assert without_home("/usr/lib/x.py") == "/usr/lib/x.py"
