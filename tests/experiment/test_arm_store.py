"""An arm that was trained before in exactly the same way is not trained again, and its times stay apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from frostline.experiment import arm_store, peaks
from frostline.run_folder import ArmStarted, PeakMemory, RunStarted, StepTaken, read_journal, records_of
from frostline.stats import summarise
from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment

FOURTH = "arms.last={train: [mlp@-1:]}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of an experiment that has been run once, as `first` beside it; whoever uses it leaves it as it is."""
    recipe = write_experiment(tmp_path_factory.mktemp("trained"))
    run_tiny(recipe, recipe.parent / "first", fresh=False)
    return recipe


@pytest.fixture
def cache(trained: Path, tmp_path: Path) -> Path:
    """A copy of the cache that the run left."""
    return shutil.copytree(trained.parent / "cache", tmp_path / "cache")


def started(run_folder: Path) -> list[ArmStarted]:
    return records_of(read_journal(run_folder), ArmStarted)


def trained_here(run_folder: Path) -> set[tuple[int, str]]:
    return {(record.seed, record.arm) for record in started(run_folder) if not record.reused_from}


def test_a_fourth_arm_costs_one_arm_and_changes_no_record(trained: Path, cache: Path, tmp_path: Path) -> None:
    first = trained.parent / "first"
    more = run_tiny(trained, tmp_path / "more", (FOURTH,), fresh=False, cache=cache).run_folder
    anew = run_tiny(trained, tmp_path / "anew", (FOURTH,), cache=cache).run_folder
    assert len(trained_here(first)) == 6
    assert trained_here(more) == {(0, "last"), (1, "last")}
    assert len(trained_here(anew)) == 8
    assert journal_without_clock(more) == journal_without_clock(anew)


def test_reused_arms_name_the_run_that_trained_them_and_keep_its_times(
    trained: Path, cache: Path, tmp_path: Path
) -> None:
    first = trained.parent / "first"
    again = run_tiny(trained, tmp_path / "again", fresh=False, cache=cache).run_folder
    (begun,) = records_of(read_journal(first), RunStarted)
    assert {record.reused_from for record in started(again)} == {f"tiny, {begun.at}"}
    assert records_of(read_journal(again), StepTaken) == records_of(read_journal(first), StepTaken)


@pytest.mark.parametrize(
    ("change", "retrained"),
    [
        ("arms.freeze.learning_rate=0.02", {(0, "freeze"), (1, "freeze")}),
        ("seeds=[0, 5]", {(5, "full"), (5, "freeze"), (5, "reversed")}),
        ("name=other", set()),
        ("training.schedule=one-by-one", {(seed, arm) for seed in (0, 1) for arm in ("full", "freeze", "reversed")}),
        ("training.schedule=lock-step", set()),
        ("training.steps=5", {(seed, arm) for seed in (0, 1) for arm in ("full", "freeze", "reversed")}),
        ("measures.common_tokens=6", {(seed, arm) for seed in (0, 1) for arm in ("full", "freeze", "reversed")}),
        ("corpus.tokens=900", {(seed, arm) for seed in (0, 1) for arm in ("full", "freeze", "reversed")}),
        ("save=[freeze]", {(0, "freeze")}),
        ("save={freeze: all}", {(0, "freeze"), (1, "freeze")}),
    ],
)
def test_only_what_the_change_touches_is_trained_again(
    trained: Path, cache: Path, tmp_path: Path, change: str, retrained: set[tuple[int, str]]
) -> None:
    again = run_tiny(trained, tmp_path / "again", (change,), fresh=False, cache=cache).run_folder
    assert trained_here(again) == retrained
    assert (again / "checkpoints").exists() == change.startswith("save")


def test_another_text_of_the_same_name_is_another_corpus(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, seeds=[0])
    run_tiny(recipe, tmp_path / "first", ("training.steps=2",), fresh=False)
    text = recipe.parent / "text.txt"
    text.write_text(text.read_text(encoding="utf-8")[::-1], encoding="utf-8")
    again = run_tiny(recipe, tmp_path / "again", ("training.steps=2",), fresh=False).run_folder
    assert len(trained_here(again)) == 3


def test_an_arm_keeps_its_place_under_another_name(trained: Path, cache: Path, tmp_path: Path) -> None:
    renamed = ("arms={full: {train: all}, upper: {train: ['attn.qkv@50%:']}}",)
    again = run_tiny(trained, tmp_path / "again", renamed, fresh=False, cache=cache).run_folder
    assert trained_here(again) == set()
    assert {record.arm for record in started(again)} == {"full", "upper"}


def test_what_is_damaged_is_trained_again(trained: Path, cache: Path, tmp_path: Path) -> None:
    kept = sorted((cache / "arms").glob("*/journal.jsonl"))
    assert len(kept) == 2 * 4
    damaged = next(path for path in kept if json.loads(path.read_text().splitlines()[0])["kind"] == "ArmStarted")
    damaged.write_text(damaged.read_text().replace("loss_nats", "loss_nits", 1))
    assert len(trained_here(run_tiny(trained, tmp_path / "again", fresh=False, cache=cache).run_folder)) == 1


def test_an_arm_that_failed_is_tried_again(trained: Path, cache: Path, tmp_path: Path) -> None:
    wild = ("arms.full.learning_rate=1e30", "training.gradient_clipping=null", "seeds=[0]")
    run_tiny(trained, tmp_path / "first", wild, fresh=False, cache=cache)
    again = run_tiny(trained, tmp_path / "again", wild, fresh=False, cache=cache).run_folder
    assert trained_here(again) == {(0, "full")}


def test_times_of_different_runs_are_not_compared_and_the_reader_is_told(
    trained: Path, cache: Path, tmp_path: Path
) -> None:
    summary = summarise(run_tiny(trained, tmp_path / "more", (FOURTH,), fresh=False, cache=cache).run_folder)
    arms = summary.variants[0].arms
    assert arms["last"].reused_from == []
    assert arms["last"].saving is not None
    assert arms["last"].saving.value is None
    assert arms["freeze"].saving is not None
    assert arms["freeze"].saving.value is not None  # freeze and full were trained side by side
    assert len(arms["full"].reused_from) == 1
    assert any("--fresh" in sentence and "full, freeze, reversed" in sentence for sentence in summary.answer)
    timed = {comparison.arm for comparison in summary.variants[0].comparisons if comparison.measure == "step_seconds"}
    assert timed == {"freeze", "reversed"}


def test_new_replicates_are_not_averaged_with_old_times(trained: Path, cache: Path, tmp_path: Path) -> None:
    more = run_tiny(trained, tmp_path / "more", ("seeds=[0, 2]",), fresh=False, cache=cache).run_folder
    own = [
        record.seconds for record in records_of(read_journal(more), StepTaken)
        if record.seed == 2 and record.arm == "full" and not record.untimed
    ]  # fmt: skip
    arm = summarise(more).variants[0].arms["full"]
    assert arm.total_seconds.value == pytest.approx(sum(own))
    assert arm.replicates == 2


def test_memory_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write_experiment(tmp_path)
    settings = ("measures.memory=true", "seeds=[0]", "training.steps=2", "arms={full: {train: all}}")
    first = run_tiny(recipe, tmp_path / "first", settings, fresh=False).run_folder
    monkeypatch.setattr(peaks, "measure_peak_memory", lambda *_, **__: pytest.fail("measured again"))
    again = run_tiny(recipe, tmp_path / "again", settings, fresh=False).run_folder
    assert records_of(read_journal(again), PeakMemory) == records_of(read_journal(first), PeakMemory)


def test_what_was_not_used_for_longest_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write_experiment(tmp_path)
    run_tiny(recipe, tmp_path / "first", ("seeds=[0]",), fresh=False)
    folder = recipe.parent / "cache" / "arms"
    size = sum(path.stat().st_size for path in folder.rglob("*.json*"))
    monkeypatch.setattr(arm_store, "LARGEST_BYTES", size)
    run_tiny(recipe, tmp_path / "second", ("seeds=[1]",), fresh=False)
    assert sum(path.stat().st_size for path in folder.rglob("*.json*")) <= size
    assert trained_here(run_tiny(recipe, tmp_path / "third", ("seeds=[1]",), fresh=False).run_folder) == set()
