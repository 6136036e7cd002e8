"""What comes from the hub is taken at one commit, and recorded: a run goes on with it after the branch has moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM

from frostline.arms.peak_memory import MemoryMeasure
from frostline.experiment import peaks, resume_experiment
from frostline.experiment.verify import verify_run
from frostline.recipe import Recipe
from frostline.report import render_report
from frostline.run_folder import ArmStarted, VariantPrepared, read_journal, records_of
from frostline.terminal.progress import PlainProgress
from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment
from tests.builders.hub import Hub, install, publish, use_hub_cache
from tests.builders.tokenizers import words

FIRST, SECOND = "a" * 40, "b" * 40
HUB = ("model.source=owner/model", "corpus.source=hub:owner/text", "retention={source: 'hub:owner/general'}")
SHORT = (*HUB, "seeds=[0]", "arms={full: {train: all}, last: {train: ['attn.o@-1:']}}")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A data set and a model of the hub, both of whose branches stand for their first commit."""
    write_experiment(tmp_path / "files")
    publish(use_hub_cache(monkeypatch, tmp_path / "hub"), "owner/model", tmp_path / "files" / "model", FIRST)
    data = install(monkeypatch, Hub([{"text": words([(index * index) % 61 for index in range(1500)])}]))
    data.commit = FIRST
    return data


def move_branches(hub: Hub, folder: Path) -> None:
    """Other weights and another text from here on."""
    model = AutoModelForCausalLM.from_pretrained(folder / "files" / "model")
    with torch.no_grad():
        next(model.parameters()).mul_(1.5)
    shutil.copytree(folder / "files" / "model", folder / "files" / "second")
    model.save_pretrained(folder / "files" / "second")
    publish(folder / "hub", "owner/model", folder / "files" / "second", SECOND)
    hub.earlier[hub.commit] = hub.rows
    hub.commit, hub.rows = SECOND, [{"text": words([(index * 7) % 61 for index in range(1500)])}]


def run(folder: Path, name: str, *overrides: str, fresh: bool = True) -> Path:
    recipe = folder / "files" / "recipe.yaml"
    return run_tiny(recipe, folder / name, (*SHORT, *overrides), fresh=fresh).run_folder


def commits(run_folder: Path) -> list[str | None]:
    (facts,) = records_of(read_journal(run_folder), VariantPrepared)
    assert facts.retention is not None
    return [facts.model_revision, facts.corpus.revision, facts.retention.revision]


def test_branches_are_recorded_as_commits_and_the_page_names_them(tmp_path: Path, hub: Hub) -> None:
    found = run(tmp_path, "run")
    assert commits(found) == [FIRST, FIRST, FIRST]
    page = render_report(found)
    for what in ("model, commit", "corpus, commit", "retention corpus, commit"):
        assert what in page
    assert FIRST in page


def test_what_lies_in_folders_has_no_commit(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, seeds=[0], retention={"source": "text.txt"})
    found = run_tiny(recipe, tmp_path / "run", ("training.steps=1", "model.revision=main")).run_folder
    assert commits(found) == [None, None, None]
    assert "commit" not in render_report(found)


def test_a_run_goes_on_with_its_commits_and_holds_although_branches_have_moved(tmp_path: Path, hub: Hub) -> None:
    alone = run(tmp_path, "alone")
    shutil.copytree(alone, tmp_path / "half")
    for name, kept in (("run.jsonl", -1), ("variant0-seed0-last.jsonl", 4)):
        path = tmp_path / "half" / "journal" / name
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:kept]))
    move_branches(hub, tmp_path)
    with PlainProgress(Console(quiet=True)) as progress:
        assert resume_experiment(tmp_path / "half", tmp_path / "new cache", progress).status == "finished"
    assert journal_without_clock(tmp_path / "half") == journal_without_clock(alone)
    assert set(hub.read_at[-2:]) == {FIRST}
    findings = verify_run(alone, tmp_path / "newer cache", say=lambda text: None, render_report=render_report)
    assert [finding for finding in findings if finding.holds is False] == []

    other = run(tmp_path, "other")
    assert commits(other) == [SECOND, SECOND, SECOND]
    assert journal_without_clock(other) != journal_without_clock(alone)
    named = run(tmp_path, "named", f"model.revision={FIRST}", f"corpus.revision={FIRST}", f"retention.revision={FIRST}")
    assert commits(named) == [FIRST, FIRST, FIRST]
    arm = "variant0-seed0-last.jsonl"
    assert journal_without_clock(named)[arm] == journal_without_clock(alone)[arm]


def test_a_model_that_was_copied_out_of_the_hub_is_not_trained_anew(tmp_path: Path, hub: Hub) -> None:
    run(tmp_path, "first", fresh=False)
    folder = run(tmp_path, "again", f"model.source={tmp_path / 'files' / 'model'}", fresh=False)
    assert commits(folder)[0] is None
    assert all(record.reused_from for record in records_of(read_journal(folder), ArmStarted))


def test_memory_is_measured_at_the_commits(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Recipe] = []

    def measure(recipe: Recipe, arm: str, cache: Path) -> MemoryMeasure:
        measured.append(recipe)
        return MemoryMeasure("process RSS", 1, 1)

    monkeypatch.setattr(peaks, "measure_peak_memory", measure)
    run(tmp_path, "run", "measures.memory=true", "training.steps=1")
    assert {recipe.model.revision for recipe in measured} == {FIRST}
    assert {recipe.corpus.revision for recipe in measured} == {FIRST}


def test_the_recipe_keeps_its_branches(tmp_path: Path, hub: Hub) -> None:
    """The resolved recipe says what was asked for, the journal what that was."""
    found = run(tmp_path, "run", "corpus.revision=main", "training.steps=1")
    text = (found / "experiment.yaml").read_text()
    assert "revision: main" in text
    assert FIRST not in text
    assert json.loads((found / "journal" / "run.jsonl").read_text().splitlines()[1])["corpus"]["revision"] == FIRST
