"""Arms that choose by a signal: settled once, recorded, the same for all replicates, found again in the cache."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from frostline.arms.prepared import Prepared, prepare
from frostline.errors import CorpusError, FrostlineError, PlanError, RecipeError
from frostline.experiment import resume_experiment
from frostline.experiment.verify import verify_run
from frostline.plans import Plan
from frostline.recipe import CHOOSING_SIGNALS, load_recipe, variants_of
from frostline.report import render_report
from frostline.run_folder import ArmStarted, VariantPrepared, read_journal, records_of
from frostline.signals.kept import signal_inputs_of, signals_of
from frostline.signals.signal import as_frame
from frostline.terminal.progress import PlainProgress
from tests.builders.experiments import run_tiny, write_experiment
from tests.cli.test_app import frostline

CHOOSING_ARMS = {
    "full": {"train": "all"},
    "chosen": {"train": ["top:25% by gradient-norm"]},
    "random": {"train": ["top:25% by random"]},
}


def prepare_it(recipe: Path, said: list[str] | None = None) -> Prepared:
    (variant,) = variants_of(load_recipe(recipe))
    (recipe.parent / "cache").mkdir(exist_ok=True)
    say = (lambda sentence: None) if said is None else said.append
    return prepare(variant, recipe.parent / "cache", say=say)


def test_a_run_records_what_was_chosen_and_can_be_verified(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, arms=CHOOSING_ARMS, save=["chosen", "random"])
    run_tiny(recipe, tmp_path / "run")
    lines = read_journal(tmp_path / "run")
    (facts,) = records_of(lines, VariantPrepared)
    assert list(facts.chosen) == ["chosen"]
    assert {seed: list(own) for seed, own in facts.chosen_by_seed.items()} == {"0": ["random"], "1": ["random"]}
    plans = {(record.seed, record.arm): record.plan for record in records_of(lines, ArmStarted)}
    assert plans[(0, "chosen")] == plans[(1, "chosen")]
    assert plans[(0, "random")] != plans[(1, "random")]
    for seed in (0, 1):
        (drawn,) = facts.chosen_by_seed[str(seed)]["random"].values()
        assert Plan.parse(plans[(seed, "random")]) == Plan.parse(f"train: [{', '.join(drawn)}]")
    (selectors,) = facts.chosen["chosen"].values()
    assert Plan.parse(plans[(0, "chosen")]) == Plan.parse(f"train: [{', '.join(selectors)}]")
    assert "top:25% by gradient-norm" in (tmp_path / "run" / "experiment.yaml").read_text()
    findings = verify_run(tmp_path / "run", tmp_path / "cache", say=lambda _: None, render_report=render_report)
    assert all(finding.holds is not False for finding in findings), findings
    with PlainProgress(Console(quiet=True)) as progress:
        assert resume_experiment(tmp_path / "run", tmp_path / "cache", progress).status == "finished"


def test_arms_that_are_drawn_anew_are_found_again_in_the_store_by_what_they_became(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, arms=CHOOSING_ARMS)
    run_tiny(recipe, tmp_path / "first", fresh=False)
    run_tiny(recipe, tmp_path / "again", ("seeds=[1, 0]",), fresh=False)
    first, again = (
        {(record.seed, record.arm): record for record in records_of(read_journal(tmp_path / name), ArmStarted)}
        for name in ("first", "again")
    )
    assert {place: record.plan for place, record in first.items()} == {
        place: record.plan for place, record in again.items()
    }
    assert all(record.reused_from for record in again.values())


def test_signals_are_measured_once_and_then_found(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, arms=CHOOSING_ARMS)
    first: list[str] = []
    again: list[str] = []
    assert prepare_it(recipe, first).chosen == prepare_it(recipe, again).chosen
    assert "Looking at gradients" in first
    assert "Looking at gradients" not in again


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """An experiment whose arms choose nothing; whoever uses it leaves it as it is."""
    return prepare_it(write_experiment(tmp_path_factory.mktemp("prepared")))


@pytest.mark.parametrize("name", CHOOSING_SIGNALS)
def test_what_the_cache_gives_back_is_what_was_measured(name: str, prepared: Prepared, tmp_path: Path) -> None:
    inputs = signal_inputs_of(prepared.model, prepared.corpus, device=prepared.device, precision=prepared.precision)
    told: list[str] = []
    measured, found = (signals_of(inputs, tmp_path, [name], say=told.append) for _ in range(2))
    assert found == measured
    assert as_frame(found.values()).equals(as_frame(measured.values()))
    assert len(told) == len(set(told))


def test_plans_can_be_chosen_by_each_signal(tmp_path: Path) -> None:
    arms = {name: {"train": [f"top:50% by {name}"]} for name in CHOOSING_SIGNALS}
    arms_prepared = prepare_it(write_experiment(tmp_path, arms=arms)).arms
    assert arms_prepared.keys() == arms.keys()
    assert all(0 < arm.resolved.trained_values < arm.resolved.parameters for arm in arms_prepared.values())


@pytest.mark.parametrize(
    ("arm", "told", "kind"),
    [
        ({"train": ["top:25% by gradients"]}, "train': 'by gradients': there is no signal", RecipeError),
        ({"train": ["top:25% by cka"]}, "train': 'by cka': 'cka' tells nothing", RecipeError),
        ({"train": ["top:25 by snr"]}, "train': 'top:25 by snr' is not understood", RecipeError),
        ({"freeze": ["top:0.001% by snr"]}, "freeze': 'top:0.001% by snr' is less than any one", PlanError),
        ({"train": ["top:25% by snr", "mlp@9"]}, "train': '@9': layer 9 is out of range", PlanError),
    ],
)
def test_what_cannot_be_chosen_is_told_with_its_key(
    arm: dict[str, object], told: str, kind: type[FrostlineError], tmp_path: Path
) -> None:
    with pytest.raises(kind, match=rf"recipe\.yaml:[0-9]+, key 'arms\.chosen\.{re.escape(told)}"):
        prepare_it(write_experiment(tmp_path, arms={"chosen": arm}))


def test_what_the_model_lacks_is_told_before_signals_are_measured(tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(PlanError, match="'name:nothing' matches nothing"):
        prepare_it(write_experiment(tmp_path, arms={"chosen": {"train": ["top:25% by snr", "name:nothing"]}}), told)
    assert not any(sentence.startswith("Looking at") for sentence in told)


def test_a_corpus_too_small_to_look_at_is_told(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, arms=CHOOSING_ARMS, windows={"length": 60, "held_out": 22})
    with pytest.raises(CorpusError, match="looking inside the model takes 4 or more"):
        prepare_it(recipe)


def test_plan_shows_what_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "cache"))
    recipe = write_experiment(tmp_path, arms=CHOOSING_ARMS)
    assert frostline("plan", str(recipe), "--json", monkeypatch=monkeypatch) == 0
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)) == 3
    assert "Arm chosen: 'top:25% by gradient-norm' is " in printed.err.replace("\n", " ")
