"""A budget of step time: the steps of each arm follow from timing it once, are recorded, and stay what they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from rich.console import Console

from frostline.arms import SettledSteps, budget_sentence, steps_within
from frostline.errors import FrostlineError
from frostline.experiment import resume_experiment, variants, verify_run
from frostline.recipe import dump_recipe, load_recipe, parse_recipe
from frostline.run_folder import ArmFinished, Evaluation, StepsSettled, StepTaken, read_journal, records_of
from frostline.stats import read_run, summarise
from frostline.terminal.progress import PlainProgress
from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment

SETTLED = {"full": SettledSteps(3, 0.1), "freeze": SettledSteps(7, 0.05), "reversed": SettledSteps(3, 0.1)}
TIMED = ("training.steps=null", "training.seconds=0.3", "measures.evaluate_every=2")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("budget"))


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        variants, "settle_steps", lambda prepared, say: SETTLED if prepared.recipe.training.seconds is not None else {}
    )


@pytest.mark.usefixtures("settled")
def test_each_arm_takes_its_own_steps_and_step_k_reads_the_same_windows_in_all(recipe: Path, tmp_path: Path) -> None:
    folder = run_tiny(recipe, tmp_path / "run", TIMED).run_folder
    lines = read_journal(folder)
    assert {own.arm: own.steps for own in records_of(lines, StepsSettled)} == {"full": 3, "freeze": 7, "reversed": 3}
    assert {(own.arm, own.steps) for own in records_of(lines, ArmFinished)} == {
        ("full", 3), ("freeze", 7), ("reversed", 3)
    }  # fmt: skip
    windows: dict[tuple[int, int], set[str]] = {}
    for taken in records_of(lines, StepTaken):
        windows.setdefault((taken.seed, taken.step), set()).add(taken.windows_sha256)
    assert {step for _, step in windows} == set(range(7))
    assert all(len(hashes) == 1 for hashes in windows.values())
    evaluated = {(own.arm, own.step) for own in records_of(lines, Evaluation) if own.corpus == "held_out"}
    assert evaluated == {
        *(("full", step) for step in (0, 2, 3)),
        *(("reversed", step) for step in (0, 2, 3)),
        *(("freeze", step) for step in (0, 2, 4, 6, 7)),
    }
    summary = summarise(folder)
    assert (summary.budget_seconds, summary.steps) == (0.3, 7)
    assert {name: arm.steps for name, arm in summary.variants[0].arms.items()} == {
        "full": 3, "freeze": 7, "reversed": 3
    }  # fmt: skip
    findings = verify_run(folder, recipe.parent / "cache", say=lambda sentence: None, render_report=lambda folder: "")
    assert not [finding for finding in findings if finding.holds is False]
    assert any(finding.sentence.endswith("as many as its budget of time became.") for finding in findings)
    edited = folder / "journal" / "run.jsonl"
    edited.write_text(edited.read_text().replace('"arm": "freeze", "steps": 7', '"arm": "freeze", "steps": 6'))
    findings = verify_run(folder, recipe.parent / "cache", say=lambda sentence: None, render_report=lambda folder: "")
    assert [found.what for found in findings if found.holds is False] == ["steps"]


@pytest.mark.usefixtures("settled")
def test_an_arm_is_that_of_a_recipe_which_names_its_steps(recipe: Path, tmp_path: Path) -> None:
    rates = ("training.decay=cosine", "training.warmup=1", "seeds=[0]")
    timed = journal_without_clock(run_tiny(recipe, tmp_path / "timed", (*TIMED, *rates)).run_folder)
    named = ("training.steps=7", "measures.evaluate_every=2", *rates)
    counted = journal_without_clock(run_tiny(recipe, tmp_path / "counted", named).run_folder)
    assert timed["variant0-seed0-freeze.jsonl"] == counted["variant0-seed0-freeze.jsonl"]
    assert timed["variant0-seed0-full.jsonl"] != counted["variant0-seed0-full.jsonl"]


def test_a_run_that_goes_on_takes_the_recorded_steps_and_times_nothing(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def settle(prepared: object, say: object) -> dict[str, SettledSteps]:
        calls.append(prepared)
        return SETTLED

    monkeypatch.setattr(variants, "settle_steps", settle)
    whole = run_tiny(recipe, tmp_path / "whole", (*TIMED, "seeds=[0]")).run_folder
    cut = shutil.copytree(whole, tmp_path / "cut")
    (cut / "journal/variant0-seed0-freeze.jsonl").unlink()
    lines = (cut / "journal/run.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (cut / "journal/run.jsonl").write_text("".join(lines[:-1]), encoding="utf-8")
    with PlainProgress(Console(quiet=True)) as progress:
        resume_experiment(cut, recipe.parent / "cache", progress)
    assert len(calls) == 1
    assert journal_without_clock(cut) == journal_without_clock(whole)
    assert read_run(cut).variants[0].recipe.training.steps == 7


def test_steps_are_settled_by_timing_and_fit_into_the_budget(recipe: Path, tmp_path: Path) -> None:
    folder = run_tiny(recipe, tmp_path / "run", ("training.steps=null", "training.seconds=0.4", "seeds=[0]")).run_folder
    for own in records_of(read_journal(folder), StepsSettled):
        assert own.steps >= 1
        assert own.steps * own.seconds_per_step == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("training.seconds=5",), "'steps' and 'seconds' both say how long training lasts"),
        (("training.steps=null", "training.seconds=1e-6"), "are less than one step of arm"),
        (("training.steps=null", "training.seconds=0"), "greater than 0"),
        (("training.steps=null",), "a whole number belongs here"),
    ],
)
def test_a_budget_that_cannot_be_is_told_in_a_sentence(
    recipe: Path, tmp_path: Path, overrides: tuple[str, ...], words: str
) -> None:
    with pytest.raises(FrostlineError) as caught:
        run_tiny(recipe, tmp_path / "run", overrides)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("settled")
def test_a_change_that_comes_after_the_last_step_is_told_before_anything_is_written(
    recipe: Path, tmp_path: Path
) -> None:
    late = (*TIMED, "arms={full: {train: all}, freeze: {train: [mlp], changes: [{at: 7, thaw: [attn]}]}, reversed: "
            "{train: [norm]}}")  # fmt: skip
    with pytest.raises(FrostlineError, match="a change at step 7 never happens in 7 steps"):
        run_tiny(recipe, tmp_path / "run", late)
    assert not (tmp_path / "run").exists()


def test_a_recipe_with_a_budget_is_written_and_read_back_the_same(recipe: Path) -> None:
    timed = load_recipe(recipe, TIMED)
    again = parse_recipe(dump_recipe(timed))
    assert again.training == timed.training
    assert "\n  steps:" not in dump_recipe(timed)
    assert "\n  seconds:" not in dump_recipe(load_recipe(recipe))


def test_first_visits_cost_more_than_later_ones() -> None:
    assert [steps_within(seconds, 1.0, 0.5, 4) for seconds in (0.9, 1, 3.9, 4, 5, 6)] == [0, 1, 3, 4, 6, 8]
    assert budget_sentence({"full": 31, "freeze": 74}, 60) == "full 31 steps, freeze 74 steps in 60 s each"
