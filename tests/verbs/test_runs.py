"""Run, resume, verify and report from Python: what the commands do, silent, in any thread."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
import yaml

import frostline
from frostline.errors import RecipeError, RunFolderError
from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment

ARMS = {"full": {"train": "all"}, "freeze": {"train": ["attn.qkv@50%:"]}}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("verbs"), arms=ARMS, seeds=[0], save=["freeze"])


@pytest.fixture(scope="module")
def outcome(recipe: Path) -> frostline.verbs.RunOutcome:
    """A run that is over; whoever changes it takes a copy."""
    return frostline.run(recipe, recipe.parent / "run", cache=recipe.parent / "cache")


def test_a_run_leaves_what_the_command_leaves_and_opens_as_frames(
    recipe: Path, outcome: frostline.verbs.RunOutcome
) -> None:
    assert (outcome.status, outcome.exit_code, outcome.failed) == ("finished", 0, ())
    assert outcome.report == outcome.folder / "report.html"
    assert {"summary.json", "report.html", "experiment.yaml"} <= {path.name for path in outcome.folder.iterdir()}
    losses = outcome.run.losses()
    assert isinstance(losses, pl.DataFrame)
    assert losses.group_by("arm").len().sort("arm").rows() == [("freeze", 6), ("full", 6)]
    assert frostline.open_run(outcome.folder).summary == outcome.run.summary
    run_tiny(recipe, recipe.parent / "by-hand")
    assert journal_without_clock(outcome.folder) == journal_without_clock(recipe.parent / "by-hand") | {
        "run.jsonl": journal_without_clock(outcome.folder)["run.jsonl"]  # it says whether it was to be fresh
    }


def test_a_mapping_runs_in_a_thread_and_nothing_is_printed(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "cache"))
    values = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    values |= {"model": {"source": recipe.parent / "model"}, "corpus": {"source": recipe.parent / "text.txt"}}
    with ThreadPoolExecutor(1) as threads:
        outcome = threads.submit(frostline.run, values, set={"training.steps": 2, "save": []}).result()
    assert outcome.folder == Path("runs/tiny")
    assert outcome.run.losses()["step"].max() == 1
    assert capfd.readouterr() == ("", "")


def test_what_is_watched_is_told_what_the_command_tells(
    recipe: Path, outcome: frostline.verbs.RunOutcome, capfd: pytest.CaptureFixture[str]
) -> None:
    class Heard(frostline.NoProgress):
        def __init__(self) -> None:
            self.sentences: list[str] = []

        def say(self, text: str) -> None:
            self.sentences.append(text)

    heard = Heard()
    frostline.resume(outcome.folder, cache=recipe.parent / "cache", progress=heard)
    assert "The run has finished: nothing is left to do." in heard.sentences
    assert "Writing summary and report" in heard.sentences
    assert capfd.readouterr() == ("", "")
    frostline.resume(outcome.folder, cache=recipe.parent / "cache", progress=True)
    assert "Writing summary and report" in capfd.readouterr().out


def test_an_existing_folder_is_refused_and_gone_on_with_where_that_is_asked_for(
    recipe: Path, outcome: frostline.verbs.RunOutcome
) -> None:
    cache = recipe.parent / "cache"
    with pytest.raises(RunFolderError, match="exists already"):
        frostline.run(recipe, outcome.folder, cache=cache)
    again = frostline.run(recipe, outcome.folder, resume="auto", cache=cache)
    assert (again.folder, again.status) == (outcome.folder, "finished")
    with pytest.raises(RunFolderError, match=r"another recipe: 'training\.steps' differs"):
        frostline.run(recipe, outcome.folder, set={"training.steps": 3}, resume="auto", cache=cache)
    with pytest.raises(frostline.FrostlineError, match="resume='always' is not understood"):
        frostline.run(recipe, outcome.folder, resume="always", cache=cache)  # type: ignore[arg-type]


def test_a_finished_run_needs_nothing_to_go_on_with_and_is_verified_from_where_its_recipe_is(
    recipe: Path, outcome: frostline.verbs.RunOutcome, tmp_path: Path
) -> None:
    moved = tmp_path / "passed-on" / "run"
    shutil.copytree(outcome.folder, moved)
    cache = recipe.parent / "cache"
    assert frostline.resume(moved, cache=cache).status == "finished"
    with pytest.raises(RunFolderError, match=r"frostline resume .* --from FOLDER"):
        frostline.resume(moved, retry_failed=True, cache=cache)
    (unchecked,) = [finding for finding in frostline.verify(moved, cache=cache) if finding.holds is None]
    assert unchecked.what == "model and corpus"
    assert unchecked.sentence.endswith(f"where the folder of the recipe is now: frostline verify {moved} --from FOLDER")
    assert all(finding.holds for finding in frostline.verify(moved, recipe_folder=recipe.parent, cache=cache))


def test_only_checkpoints_may_be_set_when_going_on(recipe: Path, outcome: frostline.verbs.RunOutcome) -> None:
    cache = recipe.parent / "cache"
    assert frostline.resume(outcome.folder, set={"checkpoints.keep": 1}, cache=cache).status == "finished"
    with pytest.raises(RunFolderError, match=r"'training\.batch' differs"):
        frostline.resume(outcome.folder, set={"training.batch": 1}, cache=cache)
    with pytest.raises(RunFolderError, match="not a run folder"):
        frostline.resume(recipe.parent, cache=cache)


def test_an_arm_that_fails_is_told_and_is_exit_code_1(recipe: Path, tmp_path: Path) -> None:
    wild: dict[str, object] = {"arms.freeze.learning_rate": 1e30, "training.gradient_clipping": None, "save": []}
    outcome = frostline.run(recipe, tmp_path / "run", set=wild, cache=tmp_path / "cache")
    assert (outcome.status, outcome.exit_code) == ("finished", 1)
    assert len(outcome.failed) == 1
    assert "freeze" in outcome.failed[0]


def test_a_mistake_is_told_before_anything_is_loaded_or_made(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"unknown key\. Did you mean 'steps'"):
        frostline.run(recipe, tmp_path / "run", set={"training.stepz": 3}, cache=tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []


def test_two_threads_at_work_would_share_random_numbers_and_the_second_is_refused(recipe: Path, tmp_path: Path) -> None:
    class TriesAnother(frostline.NoProgress):
        """From a second thread, while the first is at work."""

        told = ""

        def begin(self, title: str, steps: dict[str, int]) -> None:
            with ThreadPoolExecutor(1) as threads:
                other = threads.submit(frostline.plan, recipe, cache=tmp_path / "cache")
                self.told = str(other.exception())

    watching = TriesAnother()
    short = {"training.steps": 1, "save": []}
    frostline.run(recipe, tmp_path / "run", set=short, cache=tmp_path / "cache", progress=watching)
    assert watching.told.startswith("Frostline is at work in another thread of this process")
    assert frostline.plan(recipe, cache=tmp_path / "cache"), "it is free again"


def test_a_run_is_verified_and_its_report_written_anew(
    recipe: Path, outcome: frostline.verbs.RunOutcome, tmp_path: Path
) -> None:
    folder = outcome.folder.parent / "copy"  # where the way to the recipe is the same
    shutil.copytree(outcome.folder, folder)
    (folder / "report.html").unlink()
    (folder / "summary.json").unlink()
    assert frostline.write_report(folder) == [folder / "report.html"]
    assert (folder / "summary.json").read_bytes() == (outcome.folder / "summary.json").read_bytes()
    assert all(finding.holds for finding in frostline.verify(folder, cache=recipe.parent / "cache"))
    with (folder / "journal" / "run.jsonl").open("a", encoding="utf-8") as journal:
        journal.write("{}\n")
    with pytest.raises(RunFolderError):
        frostline.verify(folder, cache=recipe.parent / "cache")
