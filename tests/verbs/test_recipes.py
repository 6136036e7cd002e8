"""Plan, estimate, time and advise from Python: typed values, and tables where they are natural."""

from __future__ import annotations

from pathlib import Path

import pytest

import frostline
from frostline.errors import PlanError, RecipeError
from frostline.terminal.plan import drawn_rows
from tests.builders.experiments import write_experiment

ARMS = {"full": {"train": "all"}, "freeze": {"train": ["attn.qkv@50%:"]}}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verbs")
    return write_experiment(folder, arms=ARMS, seeds=[0], windows={"length": 8, "held_out": 8})


@pytest.fixture(autouse=True)
def cache(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(recipe.parent / "cache"))


def test_a_plan_tells_what_each_arm_trains_and_reads_no_corpus(recipe: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (found,) = frostline.plan(recipe, set={"corpus.source": "hub:nobody/nothing"})
    assert list(found.arms) == ["full", "freeze"]
    table = found.frame()
    assert table["arm"].to_list() == ["full", "freeze"]
    assert table["trained_parameters"].to_list() == [arm.resolved.trained_values for arm in found.arms.values()]
    assert table["prefix_layers"].to_list()[0] == 0 < table["prefix_layers"].to_list()[1]
    assert capfd.readouterr() == ("", "")


def test_each_model_that_varies_is_planned_and_each_corpus_is_not(recipe: Path) -> None:
    assert [one.variant for one in frostline.plan(recipe, set={"vary.corpus.tokens": [300, 400]})] == [
        "corpus.tokens=300"
    ]


def test_a_plan_that_matches_nothing_is_told_with_its_place(recipe: Path) -> None:
    with pytest.raises(PlanError, match=r"--set arms, key 'arms\.x\.train': 'name:nothing' matches nothing"):
        frostline.plan(recipe, set={"arms": {"x": {"train": ["name:nothing"]}}})


def test_rows_of_the_vocabulary_are_planned_with_the_tokenizer_of_the_recipe(recipe: Path) -> None:
    arms = {"whole": {"train": ["embed"]}, "rows": {"train": ['embed["w5", 20:30]']}}
    changed = {"arms": arms, "measures.watch": ["embed[:8]"]}
    (found,) = frostline.plan(recipe, set=changed)
    assert found.frame()["trained_parameters"].to_list() == [97 * 32, 11 * 32]
    assert drawn_rows(found.arms["rows"].resolved)[-1].cells["embed"] == "partly"
    with pytest.raises(PlanError, match=r"key 'arms\.rows\.train': 'embed\[\"w5000\"\]': 'w5000' is no token"):
        frostline.plan(recipe, set={"arms": {"rows": {"train": ['embed["w5000"]']}}})


def test_times_and_an_estimate_come_as_tables(recipe: Path) -> None:
    (timing,) = frostline.time(recipe, rounds=2, memory=False)
    table = timing.frame()
    assert table["arm"].to_list() == ["full", "freeze"]
    assert table["step_seconds"].to_list() == [arm.step_seconds.value for arm in timing.arms]
    assert table["saving"].to_list()[0] is None
    assert table["peak_bytes"].to_list() == [None, None]
    (estimate,) = frostline.estimate(recipe)
    table = estimate.frame()
    assert table["peak_bytes"].to_list() == [arm.peak_bytes for arm in estimate.arms]
    assert table["saving"].dtype.is_float()


def test_an_advice_leaves_a_page_and_a_recipe_that_can_be_run(recipe: Path, tmp_path: Path) -> None:
    result = frostline.advise(recipe, tmp_path / "advice", steps=3, signals=["snr"], budget="parameters=80%")
    assert (result.status, result.exit_code, result.page) == ("finished", 0, tmp_path / "advice" / "advice.html")
    assert result.recommendation is not None
    pick = result.recommendation.pick
    candidates, trials = result.candidates(), result.trials()
    assert {"full", pick.candidate} <= set(candidates["candidate"])
    assert candidates.filter(candidate="full")["exceeds"].to_list()[0], "full training does not keep the budget"
    assert trials.filter(candidate=pick.candidate)["held_out_loss_nats"].drop_nulls().len() > 0
    assert list(frostline.load_recipe(result.folder / "recommended.yaml").arms)[:2] == ["full", "advised"]


def test_mistakes_of_an_advice_are_told_at_once(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="there is no signal 'fishr'"):
        frostline.advise(recipe, tmp_path / "advice", signals=["fishr"])
    with pytest.raises(RecipeError, match="--budget tim=40%: not understood"):
        frostline.advise(recipe, tmp_path / "advice", budget="tim=40%")
    assert not (tmp_path / "advice").exists()
