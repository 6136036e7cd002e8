"""Forgetting is measured on the untouched model's own text where no corpus is named, and the text stays what it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from frostline.errors import RecipeError
from frostline.experiment import resume_experiment, verify_run
from frostline.recipe import load_recipe, parse_recipe
from frostline.run_folder import Evaluation, VariantPrepared, read_journal, records_of
from frostline.stats import summarise
from frostline.terminal.progress import PlainProgress
from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment

SHORT = ("seeds=[0]", "arms={full: {train: all}}")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def run_folder(recipe: Path) -> Path:
    return run_tiny(recipe, recipe.parent / "run", SHORT).run_folder


def test_the_text_is_recorded_and_every_evaluation_is_on_it_too(run_folder: Path) -> None:
    lines = read_journal(run_folder)
    facts = records_of(lines, VariantPrepared)[0].retention
    assert facts is not None
    assert facts.description == "the untouched model's own text"
    assert (len(facts.own_text), {len(window) for window in facts.own_text}) == (8, {16})
    steps = [own.step for own in records_of(lines, Evaluation) if own.corpus == "retention"]
    assert steps == [0, 3, 6]
    summary = summarise(run_folder).variants[0]
    assert summary.retention == "the untouched model's own text"
    assert summary.arms["full"].forgetting is not None


def test_another_cache_gives_the_same_text(recipe: Path, run_folder: Path, tmp_path: Path) -> None:
    again = run_tiny(recipe, tmp_path / "again", SHORT, cache=tmp_path / "cache").run_folder
    assert journal_without_clock(again) == journal_without_clock(run_folder)


def test_a_model_that_is_asked_for_no_samples_writes_the_text_all_the_same(
    recipe: Path, run_folder: Path, tmp_path: Path
) -> None:
    unasked = run_tiny(recipe, tmp_path / "run", (*SHORT, "measures.sampling.prompts=0")).run_folder
    texts = [records_of(read_journal(folder), VariantPrepared)[0].retention for folder in (run_folder, unasked)]
    assert texts[0] == texts[1]


def test_a_recorded_text_that_the_model_did_not_write_is_found(recipe: Path, run_folder: Path) -> None:
    cut = shutil.copytree(run_folder, run_folder.parent / "forged")
    (cut / "journal/variant0-seed0-full.jsonl").unlink()
    lines = (cut / "journal/run.jsonl").read_text(encoding="utf-8").splitlines()
    other = json.loads(lines[1])
    other["retention"]["own_text"][0][1:] = [7] * 15
    kept = [json.dumps(own) for own in (json.loads(lines[0]), other)]
    (cut / "journal/run.jsonl").write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    findings = verify_run(cut, recipe.parent / "cache", say=lambda sentence: None, render_report=lambda folder: "")
    assert any("retention" in finding.sentence for finding in findings if finding.holds is False)


def test_it_can_be_switched_off(recipe: Path, tmp_path: Path) -> None:
    folder = run_tiny(recipe, tmp_path / "run", (*SHORT, "retention=none")).run_folder
    assert {own.corpus for own in records_of(read_journal(folder), Evaluation)} == {"held_out"}
    assert summarise(folder).variants[0].arms["full"].forgetting is None


def test_samples_are_what_serves_where_nothing_is_named(recipe: Path) -> None:
    assert load_recipe(recipe).samples_retention
    assert load_recipe(recipe, ("retention=samples",)).samples_retention
    assert not load_recipe(recipe, ("retention={source: text.txt}",)).samples_retention


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("sample", "a corpus, 'samples' or 'none' belongs here, found 'sample'. Did you mean 'samples'?"),
        ("3", "a corpus, 'samples' or 'none' belongs here, found 3."),
        ("{sourc: x}", "key 'retention.sourc': unknown key. Did you mean 'source'?"),
    ],
)
def test_another_word_is_refused_in_a_sentence(value: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe("arms: {full: {train: all}}", [f"retention={value}"])
    assert words in str(caught.value)


def test_trained_windows_are_measured_at_both_ends_from_one_epoch_on(recipe: Path, tmp_path: Path) -> None:
    long = run_tiny(recipe, tmp_path / "long", (*SHORT, "corpus.tokens=160", "retention=none")).run_folder
    steps = [own.step for own in records_of(read_journal(long), Evaluation) if own.corpus == "trained"]
    assert steps == [0, 6]
    arm = summarise(long).variants[0].arms["full"]
    assert arm.trained_before is not None
    assert arm.trained_after is not None
    short = run_tiny(recipe, tmp_path / "short", (*SHORT, "training.steps=2", "corpus.tokens=160")).run_folder
    assert all(own.corpus != "trained" for own in records_of(read_journal(short), Evaluation))


def test_a_run_that_goes_on_is_measured_on_the_same_text(recipe: Path, run_folder: Path) -> None:
    cut = shutil.copytree(run_folder, run_folder.parent / "cut")
    (cut / "journal/variant0-seed0-full.jsonl").unlink()
    lines = (cut / "journal/run.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (cut / "journal/run.jsonl").write_text("".join(lines[:-1]), encoding="utf-8")
    with PlainProgress(Console(quiet=True)) as progress:
        resume_experiment(cut, recipe.parent / "cache", progress)
    assert journal_without_clock(cut) == journal_without_clock(run_folder)
