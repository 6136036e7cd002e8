"""Code that comes with a model runs only where the command line names exactly that code."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import typer

from frostline.arms import Prepared, facts_of, prepare
from frostline.cli.command import app
from frostline.errors import ModelError, RecipeError
from frostline.experiment.verify import verify_run
from frostline.loading.pretrained import load_model, load_tokenizer, parameter_count
from frostline.recipe import ModelSettings, load_recipe, trusting, variants_of
from frostline.report import render_report
from tests.builders.experiments import write_experiment
from tests.builders.hub import publish, use_hub_cache
from tests.cli.test_app import frostline

CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM

Path(r"{witness}").touch()


class StrangerConfig(LlamaConfig):
    model_type = "stranger"


class StrangerForCausalLM(LlamaForCausalLM):
    config_class = StrangerConfig
"""
MODULES = {"AutoConfig": "stranger.StrangerConfig", "AutoModelForCausalLM": "stranger.StrangerForCausalLM"}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment on a model of a family that transformers does not know."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    path = write_experiment(tmp_path, save=["freeze"], arms={"freeze": {"train": ["attn.qkv@50%:"]}})
    write_config(tmp_path, model_type="stranger", auto_map=MODULES, architectures=["StrangerForCausalLM"])
    (tmp_path / "model" / "stranger.py").write_text(CODE.format(witness=tmp_path / "witness"), encoding="utf-8")
    return path


def write_config(folder: Path, **changes: object) -> None:
    file = folder / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def settings_of(recipe: Path, pin: str | None) -> ModelSettings:
    return trusting(load_recipe(recipe), pin).model


def pin_of(recipe: Path) -> str:
    """What the refusal says to add."""
    with pytest.raises(ModelError, match="does not run unasked") as caught:
        load_model(settings_of(recipe, None), recipe.parent)
    found = re.search(r"--trust-remote-code (sha256:[0-9a-f]{64})", str(caught.value))
    assert found is not None
    return found.group(1)


@pytest.mark.parametrize("load", [load_model, load_tokenizer, parameter_count])
@pytest.mark.parametrize("pin", [None, "sha256:" + "0" * 64, "yes"])
def test_code_does_not_run_unless_its_own_pin_is_given(recipe: Path, load: object, pin: str | None) -> None:
    assert callable(load)
    with pytest.raises(ModelError, match="does not run unasked"):
        load(settings_of(recipe, pin), recipe.parent)
    assert not (recipe.parent / "witness").exists()


def test_a_recipe_cannot_ask_for_it(recipe: Path) -> None:
    for key in ("trusted_code", "_trusted_code", "trust_remote_code"):
        with pytest.raises(RecipeError, match="unknown key"):
            load_recipe(recipe, [f"model.{key}={pin_of(recipe)}"])
    assert not (recipe.parent / "witness").exists()


def test_code_that_was_changed_after_it_was_read_does_not_run(recipe: Path) -> None:
    pin = pin_of(recipe)
    with (recipe.parent / "model" / "stranger.py").open("a", encoding="utf-8") as file:
        file.write("# and more\n")
    with pytest.raises(ModelError, match="is not what was trusted"):
        load_model(settings_of(recipe, pin), recipe.parent)
    assert not (recipe.parent / "witness").exists()


def test_code_of_another_repository_is_refused_whatever_the_pin(recipe: Path) -> None:
    pin = pin_of(recipe)
    write_config(
        recipe.parent, auto_map=MODULES | {"AutoModelForCausalLM": "someone/else--stranger.StrangerForCausalLM"}
    )
    with pytest.raises(ModelError, match="another repository"):
        load_model(settings_of(recipe, pin), recipe.parent)
    assert not (recipe.parent / "witness").exists()


def test_a_hub_id_needs_a_full_commit(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = json.loads((recipe.parent / "model" / "config.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(
        "frostline.loading.remote_code.PretrainedConfig.get_config_dict", lambda *_, **__: (configuration, {})
    )
    with pytest.raises(ModelError, match="not a full commit"):
        load_model(ModelSettings(source="some/stranger", revision="main").trusting("main"), recipe.parent)
    with pytest.raises(ModelError, match=f"--trust-remote-code {'a' * 40}"):
        load_model(ModelSettings(source="some/stranger", revision="a" * 40).trusting("b" * 40), recipe.parent)


def test_a_branch_of_the_hub_is_trusted_at_the_commit_that_it_stands_for(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = use_hub_cache(monkeypatch, recipe.parent / "hub")
    publish(hub, "some/stranger", recipe.parent / "model", "a" * 40)

    def prepared(pin: str | None) -> Prepared:
        (variant,) = variants_of(trusting(load_recipe(recipe, ["model.source=some/stranger"]), pin))
        return prepare(variant, recipe.parent / "cache", say=lambda text: None)

    with pytest.raises(ModelError, match=f"--trust-remote-code {'a' * 40}"):
        prepared(None)
    assert not (recipe.parent / "witness").exists()
    facts = facts_of(prepared("a" * 40))
    assert (facts.model_class, facts.model_code, facts.model_revision) == ("StrangerForCausalLM", "a" * 40, "a" * 40)

    (recipe.parent / "witness").unlink()
    publish(hub, "some/stranger", recipe.parent / "model", "b" * 40)
    with pytest.raises(ModelError, match="is not what was trusted"):
        prepared("a" * 40)
    assert not (recipe.parent / "witness").exists()


def test_a_pin_for_a_model_that_needs_no_code_is_told(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path)
    with pytest.raises(ModelError, match="needs no code of its own"):
        load_model(settings_of(recipe, "yes"), tmp_path)


def test_an_experiment_with_trusted_code_runs_records_it_and_can_be_verified(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(recipe.parent / "cache"))
    pin, run_folder = pin_of(recipe), recipe.parent / "run"
    arguments = ("run", str(recipe), "--out", str(run_folder), "--set", "measures.memory=true")
    assert frostline(*arguments, monkeypatch=monkeypatch) == 2
    assert not run_folder.exists()
    assert frostline(*arguments, "--trust-remote-code", pin, monkeypatch=monkeypatch) == 0
    lines = (run_folder / "journal" / "run.jsonl").read_text(encoding="utf-8").splitlines()
    prepared = next(line for line in map(json.loads, lines) if line["kind"] == "VariantPrepared")
    assert prepared["model_code"] == pin
    assert sum(json.loads(line)["kind"] == "PeakMemory" for line in lines) == 1
    findings = verify_run(
        run_folder, recipe.parent / "cache", say=lambda _: None, render_report=render_report, trusted_code=pin
    )
    assert all(finding.holds for finding in findings), findings
    untrusting = verify_run(run_folder, recipe.parent / "cache", say=lambda _: None, render_report=render_report)
    assert {finding.holds for finding in untrusting} == {True, None}
    capsys.readouterr()


def test_every_command_that_loads_a_model_has_the_option() -> None:
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]  # a group
        loads = name in (
            "corpus", "plan", "run", "resume", "estimate", "time", "advise", "inspect", "verify", "export",
            "apply-patch",
        )  # fmt: skip
        assert any("--trust-remote-code" in parameter.opts for parameter in command.params) == loads, name


def test_a_varied_model_keeps_the_pin_and_the_others_need_none(recipe: Path) -> None:
    pin = pin_of(recipe)
    write_experiment(recipe.parent / "plain")
    varied = trusting(load_recipe(recipe, ["vary.model.source=[model, plain/model, other]"]), pin)
    own, plain, other = (variant.recipe.model for variant in variants_of(varied))
    assert type(load_model(own, recipe.parent)).__name__ == "StrangerForCausalLM"
    assert type(load_model(plain, recipe.parent)).__name__ == "LlamaForCausalLM"
    shutil.copytree(recipe.parent / "model", recipe.parent / "other")
    with (recipe.parent / "other" / "stranger.py").open("a", encoding="utf-8") as file:
        file.write("# another\n")
    with pytest.raises(ModelError, match="One experiment trusts one code: give this model an experiment of its own"):
        load_model(other, recipe.parent)
