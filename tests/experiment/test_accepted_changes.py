"""What goes on under other conditions that the user accepted is told, and never kept as if trained under them."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from rich.console import Console

from frostline.errors import RunFolderError
from frostline.experiment import RunResult, resume_experiment, run_experiment
from frostline.interruption import Stopped
from frostline.machine import describe_machine
from frostline.recipe import load_recipe
from frostline.run_folder import ArmStarted, RunResumed, read_journal, records_of
from frostline.terminal.progress import PlainProgress
from tests.builders.experiments import run_tiny, write_experiment

ARMS: dict[str, object] = {"full": {"train": "all"}, "last": {"train": ["attn.o@-1:"]}}
OTHER = {"torch": "1.0"}


class StopsAt(PlainProgress):
    """Asks the run to stop once an arm has taken a step."""

    def __init__(self, step: int) -> None:
        super().__init__(Console(quiet=True))
        self._stops_at = step

    def step(self, arm: str, step: int, loss_nats: float, tokens: int, seconds: float) -> None:
        if step == self._stops_at:
            raise Stopped(signal.SIGINT)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an experiment whose first arm stopped after three steps, its second before the first."""
    folder = tmp_path_factory.mktemp("stopped")
    schedule = {"steps": 6, "precision": "fp32", "schedule": "one-by-one"}
    recipe = write_experiment(folder, arms=ARMS, seeds=[0], training=schedule)
    with StopsAt(2) as progress:
        result = run_experiment(load_recipe(recipe), folder / "run", folder / "cache", progress)
    assert result.status == "interrupted"
    return folder


@pytest.fixture
def experiment(stopped: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(stopped, tmp_path / "experiment")
    return tmp_path / "experiment"


def begun_under(folder: Path, changes: dict[str, str]) -> None:
    """Let the journal say that the run was begun on this machine but for `changes`."""
    edit_journal(folder, "RunStarted", environment=describe_machine() | changes)


def edit_journal(folder: Path, kind: str, **changes: object) -> None:
    path = folder / "run" / "journal" / "run.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line | changes if line["kind"] == kind else line) + "\n" for line in lines))


def go_on(folder: Path, *, accepted: bool, stops_at: int = -1) -> RunResult:
    with StopsAt(stops_at) as progress:
        return resume_experiment(folder / "run", folder / "cache", progress, accept_changes=accepted)


def trained_anew(folder: Path) -> set[str]:
    """Arms that a later run does not find kept."""
    run = run_tiny(folder / "run" / "experiment.yaml", folder / "later", fresh=False, cache=folder / "cache").run_folder
    return {record.arm for record in records_of(read_journal(run), ArmStarted) if not record.reused_from}


def test_an_arm_that_went_on_as_it_began_is_kept(experiment: Path) -> None:
    assert go_on(experiment, accepted=False).status == "finished"
    assert trained_anew(experiment) == set()


def test_an_arm_that_went_on_under_other_conditions_is_not_kept(experiment: Path) -> None:
    begun_under(experiment, OTHER)
    assert go_on(experiment, accepted=True).status == "finished"
    assert trained_anew(experiment) == {"full"}, "the other arm was trained under these conditions alone"


def test_nor_is_one_that_came_back_to_the_conditions_of_its_beginning(experiment: Path) -> None:
    begun_under(experiment, OTHER)
    assert go_on(experiment, accepted=True, stops_at=4).status == "interrupted"
    begun_under(experiment, {})
    assert go_on(experiment, accepted=False).status == "finished"
    assert trained_anew(experiment) == {"full"}


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        ("model_sha256", "the model's weights changed"),
        ("configuration_sha256", "the model's configuration changed"),
        ("tokenizer_sha256", "the tokenizer changed"),
        ("model_code", "model code changed"),
        ("model_class", "model class changed: 'ab' then, 'LlamaForCausalLM' now"),
    ],
)
def test_another_model_or_tokenizer_is_refused(experiment: Path, fact: str, words: str) -> None:
    edit_journal(experiment, "VariantPrepared", **{fact: "ab"})
    with pytest.raises(RunFolderError, match=f"since it was begun, {words}"):
        go_on(experiment, accepted=True)


def test_other_tokens_of_the_same_text_are_refused(experiment: Path) -> None:
    facts = next(line for line in read_journal(experiment / "run") if line["kind"] == "VariantPrepared")["corpus"]
    assert isinstance(facts, dict)
    edit_journal(experiment, "VariantPrepared", corpus=facts | {"tokens_sha256": "ab"})
    with pytest.raises(RunFolderError, match="since it was begun, the corpus changed"):
        go_on(experiment, accepted=True)


def test_what_model_and_corpus_are_called_does_not_matter(experiment: Path) -> None:
    facts = next(line for line in read_journal(experiment / "run") if line["kind"] == "VariantPrepared")["corpus"]
    assert isinstance(facts, dict)
    edit_journal(experiment, "VariantPrepared", model="/elsewhere", corpus=facts | {"description": "text.md"})
    assert go_on(experiment, accepted=False).status == "finished"


def test_what_may_follow_from_accepted_versions_is_told_with_them(experiment: Path) -> None:
    begun_under(experiment, OTHER)
    edit_journal(experiment, "VariantPrepared", configuration_sha256="ab")
    assert go_on(experiment, accepted=True).status == "finished"
    (resumed,) = records_of(read_journal(experiment / "run"), RunResumed)
    assert resumed.changes == [
        f"torch was 1.0 and is {describe_machine()['torch']}",
        "the model's configuration changed",
    ]


def test_a_fact_that_an_earlier_version_did_not_record_is_no_change(experiment: Path) -> None:
    facts = describe_machine()
    edit_journal(experiment, "RunStarted", environment={name: facts[name] for name in facts if name != "arithmetic"})
    assert go_on(experiment, accepted=False).status == "finished"


def test_a_run_that_an_earlier_version_began_is_refused_in_a_sentence(experiment: Path) -> None:
    path = experiment / "run" / "journal" / "run.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        for name in ("configuration_sha256", "tokenizer_sha256", "model_revision"):
            line.pop(name, None)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RunFolderError, match="begun by an earlier Frostline") as caught:
        go_on(experiment, accepted=True)
    assert "Finish it with the version that began it, or begin anew with another --out." in str(caught.value)
