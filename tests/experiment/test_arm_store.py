"""An arm that was trained before in exactly the same way is not trained again, and its times stay apart."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from frostline.experiment import arm_store, peaks
from frostline.experiment.arm_store import ArmStore
from frostline.run_folder import ArmStarted, PeakMemory, RunStarted, StepTaken, read_journal, records_of
from frostline.stats import summarise
from frostline.storage import open_entry
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
    bound_by(monkeypatch, size)
    run_tiny(recipe, tmp_path / "second", ("seeds=[1]",), fresh=False)
    assert sum(path.stat().st_size for path in folder.rglob("*.json*")) <= size
    assert trained_here(run_tiny(recipe, tmp_path / "third", ("seeds=[1]",), fresh=False).run_folder) == set()


# Several processes, several machines


def store_in(folder: Path) -> ArmStore:
    return ArmStore(folder, "tiny, now", "{}")


def key_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


LINES = b'{"kind": "ArmStarted"}\n' * 1000


def test_an_arm_just_kept_stays_where_another_machines_clock_is_an_hour_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own clock it is the oldest; what goes is what the others used longest ago."""
    bound_by(monkeypatch, 3 * len(LINES) + 2000)
    store, ahead = store_in(tmp_path), time.time() + 3600
    for number in range(3):
        store.keep(key_of(number), LINES)
        os.utime(tmp_path / key_of(number), (ahead + number, ahead + number))
    store.keep(key_of(3), LINES)
    assert [store.find(key_of(number)) is not None for number in range(4)] == [False, True, True, True]


def test_an_arm_that_is_removed_while_it_is_looked_up_was_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_in(tmp_path)
    store.keep(key_of(0), LINES)

    def removed_then(parent: Path, key: str) -> object:
        entry = open_entry(parent, key)
        shutil.rmtree(parent / key)
        return entry

    monkeypatch.setattr(arm_store, "open_entry", removed_then)
    assert store.find(key_of(0)) is None
    assert list(tmp_path.iterdir()) == []


def test_room_is_never_made_of_what_another_process_is_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound_by(monkeypatch, 0)
    writing = tmp_path / ".writing-node17-4711-abc"
    writing.mkdir()
    (writing / "journal.jsonl").write_bytes(LINES)
    store_in(tmp_path).keep(key_of(0), LINES)
    assert (writing / "journal.jsonl").read_bytes() == LINES
    assert store_in(tmp_path).find(key_of(0)) is not None


def test_more_than_a_gigabyte_is_kept_where_the_disk_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound_by(monkeypatch, len(LINES))
    monkeypatch.setattr(arm_store, "default_bound", lambda folder: 10 * len(LINES))
    store = store_in(tmp_path)
    for number in range(5):
        store.keep(key_of(number), LINES)
    assert all(store.find(key_of(number)) for number in range(5))


def test_processes_that_keep_find_and_make_room_at_once_get_whole_arms_or_none(tmp_path: Path) -> None:
    work = (
        "import sys, time; from pathlib import Path; from frostline.experiment import arm_store\n"
        "from tests.experiment.test_arm_store import LINES, key_of, store_in\n"
        "arm_store.ALWAYS_KEPT_BYTES, arm_store.LOOKING_SHARE = 3 * len(LINES), 1\n"
        "arm_store.default_bound = lambda folder: 0\n"
        "store, found = store_in(Path(sys.argv[1])), 0\n"
        "for number in range(150):\n"
        "    store.keep(key_of(number % 5), LINES)\n"
        "    kept = store.find(key_of((number + 4) % 5))\n"
        "    found += kept is not None\n"
        "    assert kept is None or len(kept.lines) == 1000\n"
        "print(found)"
    )
    command = [sys.executable, "-c", work, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert int(output) > 0
    assert not list(tmp_path.glob(".writing-*"))


def bound_by(patch: pytest.MonkeyPatch, size: int) -> None:
    """Let the store keep so many bytes, and look after every arm."""
    patch.setattr(arm_store, "ALWAYS_KEPT_BYTES", size)
    patch.setattr(arm_store, "LOOKING_SHARE", 1)
    patch.setattr(arm_store, "default_bound", lambda folder: 0)
