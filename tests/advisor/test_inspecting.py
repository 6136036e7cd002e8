"""Looking inside models and runs: what moved, what did not, and what cannot be told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from frostline.advisor.inspecting import inspect_model, inspect_run
from frostline.advisor.inspection import Inspection
from frostline.errors import RecipeError, RunFolderError
from frostline.recipe import inspected_recipe, load_recipe
from frostline.report.inspection_page import write_inspection
from frostline.signals.measure import KINDS
from tests.builders.experiments import run_tiny, write_experiment
from tests.cli.test_app import frostline

ARMS = {
    "full": {"train": "all"},
    "chosen": {"train": ["top:50% by fisher"]},
    "upper": {"train": ["attn.qkv@50%:"]},
    "chance": {"train": ["top:50% by random-1"]},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose arms `upper` and `full` were saved."""
    folder = tmp_path_factory.mktemp("inspected")
    recipe = write_experiment(folder, arms=ARMS, seeds=[0], save=["upper", "full"])
    assert run_tiny(recipe, folder / "run", ("training.steps=40", "training.learning_rate=0.02")).exit_code == 0
    return folder / "run"


def look(run: Path, arm: str | None = None, names: tuple[str, ...] = tuple(KINDS)) -> Inspection:
    return inspect_run(run, run.parent / "cache", names=names, arm=arm)


@pytest.fixture(scope="module")
def upper(run: Path) -> Inspection:
    return look(run)


def test_only_what_the_plan_trains_has_acted(upper: Inspection) -> None:
    assert upper.tuned is not None
    assert upper.tuned.arm == "upper"
    layers, roles = upper.tuned.acts.layers, upper.tuned.acts.roles
    assert [effect.moved for effect in layers.values()] == [False, False, True, True]
    assert {role for role, effect in roles.items() if effect.moved} == {"attn.q", "attn.k", "attn.v"}
    assert all((effect.alone, effect.removed) == (0, 0) for effect in layers.values() if not effect.moved)
    assert upper.tuned.acts.gain > 0


def test_scores_are_of_what_moved_and_full_training_moves_everything(run: Path, upper: Inspection) -> None:
    assert upper.tuned is not None
    assert all(score.layers is None for score in upper.tuned.scores)  # two layers moved: too few
    full = look(run, "full")
    assert full.tuned is not None
    assert all(effect.moved for effect in full.tuned.acts.layers.values())
    assert {score.signal for score in full.tuned.scores} == set(KINDS)
    assert any(score.layers is not None for score in full.tuned.scores)
    # The trained model computing all layers but the last norm and head is nearly the trained model.
    assert full.tuned.acts.patched[3] > full.tuned.acts.patched[0]


@pytest.mark.parametrize("arm", ["upper", "adapters"])
def test_trained_tensors_alone_show_what_the_whole_model_shows(arm: str, tmp_path: Path) -> None:
    arms = {"full": {"train": "all"}, "upper": ARMS["upper"], "adapters": {"lora": {"targets": ["attn.qkv@50%:"]}}}
    found = []
    for what in ("model", "all"):
        recipe = write_experiment(tmp_path / what, arms=arms, seeds=[0], save={arm: what})
        run_tiny(recipe, tmp_path / what / "run", ("training.steps=30", "training.learning_rate=0.02"))
        acts = look(tmp_path / what / "run", arm, names=("snr",)).tuned
        assert acts is not None
        found.append(acts.acts)
    whole, tensors = found
    assert tensors.gain == pytest.approx(whole.gain, abs=1e-5)
    assert [effect.moved for effect in tensors.layers.values()] == [False, False, True, True]
    for layer, effect in whole.layers.items():
        assert tensors.layers[layer].alone == pytest.approx(effect.alone, abs=1e-5)


def test_the_claim_about_choosing_is_shown(upper: Inspection) -> None:
    assert [(claim.id, claim.arm, claim.verdict) for claim in upper.claims] == [("C11", "chosen", "undecided")] * 2
    assert "chance, chosen at random" in upper.claims[0].sentence


def test_the_page_shows_where_training_acted_and_loads_nothing(upper: Inspection, tmp_path: Path) -> None:
    page = write_inspection(tmp_path / "inspect.html", upper).read_text(encoding="utf-8")
    for figure in ("layer-effects", "role-effects", "patched", "maps", "curves", "heads"):
        assert f'id="figure-{figure}"' in page
    assert "Training upper has lowered" in page
    assert "trains a part only" in page
    assert "<script" not in page
    assert "default-src 'none'" in page


def test_an_arm_that_was_not_saved_is_told_with_the_nearest(run: Path) -> None:
    with pytest.raises(RunFolderError, match=r"no trained model of an arm 'uper' was saved.*mean 'upper'"):
        look(run, "uper")


def test_a_damaged_trained_model_is_told(run: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(run.parent, tmp_path / "copy")
    weights = tmp_path / "copy" / "run" / "checkpoints" / "upper" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(RunFolderError, match=r"model\.safetensors"):
        look(tmp_path / "copy" / "run", names=("snr",))


def test_a_run_without_a_trained_model_says_how_to_have_one(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, seeds=[0], windows={"length": 8, "held_out": 4})
    run_tiny(recipe, tmp_path / "run", ("training.steps=2",))
    found = look(tmp_path / "run", names=("snr",))
    assert found.tuned is None
    assert "save:" in found.not_tuned
    assert list(found.signals) == ["snr"]
    page = write_inspection(tmp_path / "page.html", found).read_text(encoding="utf-8")
    assert "No trained model was saved" in page


def test_training_that_gained_nothing_is_told_and_the_signals_are_shown(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, seeds=[0], save=["full"], arms={"full": {"train": "all"}})
    run_tiny(recipe, tmp_path / "run", ("training.steps=2", "training.learning_rate=5"))
    found = look(tmp_path / "run", names=("snr",))
    assert found.tuned is None
    assert "training has not lowered the loss" in found.not_tuned


def test_a_model_alone_is_looked_at_with_a_text(tmp_path: Path) -> None:
    write_experiment(tmp_path)
    recipe = inspected_recipe(str(tmp_path / "model"), str(tmp_path / "text.txt"), 16)
    (tmp_path / "cache").mkdir()
    found = inspect_model(recipe, tmp_path / "cache", names=("gradient-norm", "cka"))
    assert list(found.signals) == ["gradient-norm", "cka"]
    assert (found.tuned, found.not_tuned, found.claims) == (None, "", ())
    same = inspect_model(load_recipe(tmp_path / "recipe.yaml"), tmp_path / "cache", names=["snr"])
    assert list(same.signals) == ["snr"]
    assert same.frame().get_column("signal").unique().to_list() == ["snr"]


def test_a_recipe_has_its_own_text(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="names its own corpus"):
        inspected_recipe(str(write_experiment(tmp_path)), "other.txt", None)
    with pytest.raises(RecipeError, match="sha256"):
        inspected_recipe("embedded", "https://example.org/text.txt", None)


def test_the_command_prints_a_table_and_json_and_names_mistakes(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(run.parent / "cache"))
    page = str(tmp_path / "page.html")
    assert frostline("inspect", str(run), "--out", page, monkeypatch=monkeypatch) == 0
    assert "knew layers" in capsys.readouterr().out
    assert frostline("inspect", str(run), "--out", page, "--json", monkeypatch=monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tuned"]["arm"] == "upper"
    assert set(found["signals"]) == set(KINDS)
    for arguments, told in (
        ((str(run), "--corpus", "x.txt"), "a run has its own corpus"),
        ((str(run), "--signal", "snrr"), "there is no signal 'snrr'"),
        (("embedded", "--arm", "full"), "is no run folder"),
        ((str(tmp_path), "--corpus", str(run.parent / "text.txt")), "error: model: the configuration of"),
    ):
        assert frostline("inspect", *arguments, monkeypatch=monkeypatch) == 2
        error = capsys.readouterr().err
        assert told in error
        assert "Traceback" not in error
