"""What may change between a stop and going on, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from frostline.engine import ALONE, World
from frostline.errors import RunFolderError
from frostline.experiment import RunResult, resume, resume_experiment
from frostline.recipe import load_recipe
from frostline.run_folder import RunStarted
from frostline.stats import summarise
from frostline.terminal.progress import PlainProgress
from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment

SHORT: dict[str, object] = {"seeds": [0], "arms": {"full": {"train": "all"}, "freeze": {"train": ["attn.qkv@50%:"]}}}


def go_on(
    recipe: Path,
    run_folder: Path,
    overrides: tuple[str, ...] = (),
    *,
    retry_failed: bool = False,
    accept_changes: bool = False,
) -> RunResult:
    with PlainProgress(Console(quiet=True)) as progress:
        return resume_experiment(
            run_folder,
            recipe.parent / "cache",
            progress,
            recipe=load_recipe(recipe, overrides),
            retry_failed=retry_failed,
            accept_changes=accept_changes,
        )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an experiment with its run."""
    folder = tmp_path_factory.mktemp("finished")
    run_tiny(write_experiment(folder, **SHORT), folder / "run")  # type: ignore[arg-type]  # of any type
    return folder


@pytest.fixture
def half_done(finished: Path, tmp_path: Path) -> Path:
    """A copy of it whose second arm was killed before its end."""
    folder = tmp_path / "experiment"
    shutil.copytree(finished, folder)
    journal = folder / "run" / "journal"
    lines = (journal / "variant0-seed0-freeze.jsonl").read_text().splitlines(keepends=True)
    (journal / "variant0-seed0-freeze.jsonl").write_text("".join(lines[:7]) + lines[7][:30])
    lines = (journal / "run.jsonl").read_text().splitlines(keepends=True)
    (journal / "run.jsonl").write_text("".join(lines[:-1]))
    return folder


def change_recorded(folder: Path, kind: str, **changes: object) -> None:
    """Change what the journal says about how the run began."""
    path = folder / "run" / "journal" / "run.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["kind"] == kind:
            line.update(changes)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_rest_is_done_and_the_journal_is_that_of_a_run_left_alone(half_done: Path, finished: Path) -> None:
    recorded = load_recipe(half_done / "run" / "experiment.yaml")
    # The copy's recipe names the files of the first folder, as the run that was stopped did.
    with PlainProgress(Console(quiet=True)) as progress:
        result = resume_experiment(half_done / "run", half_done / "cache", progress, recipe=recorded)
    assert (result.status, result.exit_code) == ("finished", 0)
    assert journal_without_clock(half_done / "run") == journal_without_clock(finished / "run")


def test_nothing_is_done_to_a_finished_run(finished: Path) -> None:
    before = journal_without_clock(finished / "run")
    assert go_on(finished / "recipe.yaml", finished / "run").status == "finished"
    assert journal_without_clock(finished / "run") == before


def resume_here(folder: Path, overrides: tuple[str, ...] = (), **options: bool) -> RunResult:
    return go_on(folder / "run" / "experiment.yaml", folder / "run", overrides, **options)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("training.steps=7", "training.steps"),
        ("seeds=[0,1]", "seeds"),
        ("arms.freeze.learning_rate=0.5", "arms.freeze.learning_rate"),
        ("windows.order=random", "windows.order"),
    ],
)
def test_another_recipe_is_refused_with_the_key(half_done: Path, override: str, key: str) -> None:
    before = {path.name: path.read_bytes() for path in (half_done / "run" / "journal").iterdir()}
    with pytest.raises(RunFolderError, match=rf"another recipe: '{key}' differs"):
        resume_here(half_done, (override,))
    assert {path.name: path.read_bytes() for path in (half_done / "run" / "journal").iterdir()} == before


def test_checkpoints_may_be_set_otherwise(half_done: Path) -> None:
    assert resume_here(half_done, ("checkpoints.keep=1",)).status == "finished"


def test_a_run_on_a_gpu_may_go_on_on_another_one(half_done: Path) -> None:
    recipe = half_done / "run" / "experiment.yaml"
    recipe.write_text(recipe.read_text().replace("device: auto", "device: cuda"), encoding="utf-8")
    begun = load_recipe(recipe)
    for device in ("cuda", "cuda:1"):
        training = begun.training.model_copy(update={"device": device})
        resume.require_same_recipe(half_done / "run", begun.model_copy(update={"training": training}))
    with pytest.raises(RunFolderError, match=r"'training\.device' differs"):
        training = begun.training.model_copy(update={"device": "cpu"})
        resume.require_same_recipe(half_done / "run", begun.model_copy(update={"training": training}))


@pytest.mark.parametrize(
    ("fact", "value"),
    [("torch", "1.0"), ("torch threads", "64"), ("frostline", "0.0.1"), ("processor", "another"), ("gpu", "some")],
)
def test_other_versions_are_refused_unless_accepted_and_then_told(half_done: Path, fact: str, value: str) -> None:
    path = half_done / "run" / "journal" / "run.jsonl"
    environment = json.loads(path.read_text().splitlines()[0])["environment"] | {fact: value}
    change_recorded(half_done, "RunStarted", environment=environment)
    with pytest.raises(RunFolderError, match=rf"{fact} was {value} and is"):
        resume_here(half_done)
    assert resume_here(half_done, accept_changes=True).status == "finished"
    summary = summarise(half_done / "run")
    assert any(fact in change for change in summary.changes)
    assert any("went on under other conditions" in sentence for sentence in summary.answer)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_sha256": "ab" * 32}, "the model's weights changed"),
        ({"precision": "bf16"}, "precision changed: 'bf16' then, 'fp32' now"),
        ({"device": "cuda"}, "device changed: 'cuda' then, 'cpu' now"),
    ],
)
def test_another_model_precision_or_device_is_refused(half_done: Path, changes: dict[str, object], words: str) -> None:
    change_recorded(half_done, "VariantPrepared", **changes)
    with pytest.raises(RunFolderError, match=words):
        resume_here(half_done, accept_changes=True)


def test_another_corpus_is_refused(half_done: Path) -> None:
    text = half_done / "text.txt"
    text.write_text(text.read_text().replace("w1 ", "w2 "))
    recipe = half_done / "run" / "experiment.yaml"
    source = load_recipe(recipe).corpus.source
    recipe.write_text(recipe.read_text().replace(source, str(text)))
    with pytest.raises(RunFolderError, match="since it was begun, the corpus changed"):
        resume_here(half_done)


def test_how_free_memory_settled_the_schedule_does_not_matter(half_done: Path) -> None:
    change_recorded(half_done, "VariantPrepared", schedule="one-by-one")
    assert resume_here(half_done).status == "finished"


def test_a_damaged_journal_is_told_with_its_line(half_done: Path) -> None:
    path = half_done / "run" / "journal" / "variant0-seed0-full.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], lines[3][:20] + "\n", *lines[4:]]))
    with pytest.raises(RunFolderError, match=r"variant0-seed0-full\.jsonl:4"):
        resume_here(half_done)


def test_what_is_no_run_is_not_written_into(tmp_path: Path) -> None:
    assert resume.standing(tmp_path / "none") == "nothing"
    (tmp_path / "empty").mkdir()
    assert resume.standing(tmp_path / "empty") == "nothing"
    with pytest.raises(RunFolderError, match="not a run folder"):
        resume.recorded_recipe(tmp_path / "empty")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter.txt").write_text("dear")
    with pytest.raises(RunFolderError, match=r"not a run folder: it has no experiment\.yaml, but 'letter\.txt'"):
        resume.standing(tmp_path / "letters")
    with pytest.raises(RunFolderError, match="not a folder"):
        resume.standing(tmp_path / "letters" / "letter.txt")


@pytest.mark.parametrize(
    ("environment", "now", "told"),
    [
        ({"processes": "2", "sharding": "weights are sharded"}, 3, ["processes was 2 and is 3"]),
        ({"processes": "2", "sharding": "weights are sharded"}, 2, []),
        ({"processes": "2"}, 3, []),  # each process has whole weights: their number changes no bit
        ({}, 2, []),
    ],
)
def test_another_number_of_processes_is_a_change_where_weights_are_sharded_over_them(
    environment: dict[str, str], now: int, told: list[str]
) -> None:
    started = RunStarted("0", "0", "2020-01-01T00:00:00+00:00", environment)
    assert resume.changes_of_processes(started, now) == told


def test_what_processes_have_sharded_is_not_for_one_alone(tmp_path: Path) -> None:
    environment = {"processes": "2", "sharding": "weights are sharded"}
    started = RunStarted("0", "0", "2020-01-01T00:00:00+00:00", environment)
    resume.require_as_sharded(tmp_path, started, World(size=2))
    with pytest.raises(RunFolderError, match="2 processes share the weights of this run, and this is one"):
        resume.require_as_sharded(tmp_path, started, ALONE)
