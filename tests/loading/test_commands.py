"""A model that is not what lies in its files is exit code 2 and one sentence, whatever was asked; and no run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import frostline
from frostline.errors import ModelError
from tests.builders.experiments import write_experiment
from tests.cli.test_app import frostline as command
from tests.loading.folders import change_weights


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = write_experiment(tmp_path)
    change_weights(tmp_path / "model", lambda weights: {f"module.{key}": value for key, value in weights.items()})
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return path


@pytest.mark.parametrize("verb", ["run", "plan", "estimate", "time", "advise", "inspect"])
def test_every_command_refuses_it(
    verb: str, recipe: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(verb, str(recipe), monkeypatch=monkeypatch) == 2
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert "key 'model.source': the weights of " in told[0]
    assert "are not in the file, the first is 'model.embed_tokens.weight'; it has 'module.model." in told[0]
    assert not list(recipe.parent.glob("runs/*"))


def test_a_model_for_a_loop_of_ones_own_is_refused_too(recipe: Path) -> None:
    with pytest.raises(ModelError, match="are not in the file"):
        frostline.load_model(str(recipe.parent / "model"))
