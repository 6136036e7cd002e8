"""Commands parse, call and print; their help shows examples."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from frostline.cli import main
from tests.builders.experiments import write_experiment


def frostline(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the command in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["frostline", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("command", ["init", "plan", "time", "run", "report", "show", "inspect", "env"])
def test_help_of_each_command_shows_an_example(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert frostline(command, "--help", monkeypatch=monkeypatch) == 0
    assert f"frostline {command}" in capsys.readouterr().out.split("Examples")[1]


def test_init_lists_and_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert frostline("init", "--json", monkeypatch=monkeypatch) == 0
    names = [recipe["name"] for recipe in json.loads(capsys.readouterr().out)]
    assert "moby-dick" in names
    assert frostline("init", "demo", "--to", str(tmp_path), monkeypatch=monkeypatch) == 0
    assert (tmp_path / "demo.yaml").is_file()


@pytest.mark.parametrize(
    ("words", "completed"), [("init mo", {"moby-dick", "moby-dick-small"}), ("re", {"report", "resume"})]
)
def test_a_shell_completes_commands_and_recipes(
    words: str, completed: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__package__", None)  # else the program is named after pytest
    monkeypatch.setenv("_FROSTLINE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"frostline {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
    assert frostline(monkeypatch=monkeypatch) == 0
    assert set(capsys.readouterr().out.split()) == completed


def test_the_schema_is_printed_as_it_ships(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert frostline("init", "--schema", monkeypatch=monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["properties"]["arms"]["description"]


def test_env_names_versions_and_machine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert frostline("env", "--json", monkeypatch=monkeypatch) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {"frostline", "python", "torch", "transformers"} <= facts.keys()


def test_of_processes_that_torchrun_has_started_the_first_one_speaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, speaks in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        for command in (("env", "--json"), ("init", "demo", "--to", str(tmp_path / rank)), ("plan", "--help")):
            assert frostline(*command, monkeypatch=monkeypatch) == 0
            assert bool("".join(capsys.readouterr())) == speaks, command
        assert (tmp_path / rank).exists() == speaks
    assert frostline("show", str(tmp_path), monkeypatch=monkeypatch) == 0  # that it is no run the first one tells
    monkeypatch.setenv("RANK", "2")
    assert frostline("env", monkeypatch=monkeypatch) == 2
    assert "RANK=2 and WORLD_SIZE=2, which cannot both be" in capsys.readouterr().err


def test_plan_draws_each_arm_and_prints_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_experiment(tmp_path)
    assert frostline("plan", str(recipe), monkeypatch=monkeypatch) == 0
    drawn = capsys.readouterr().out
    for word in ("full", "freeze", "reversed", "attn.q", "prefix"):
        assert word in drawn
    assert frostline("plan", str(recipe), "--json", monkeypatch=monkeypatch) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3


def test_time_shows_each_arm_and_prints_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "cache"))
    recipe = write_experiment(tmp_path)
    quick = ("--rounds", "2", "--no-memory")
    assert frostline("time", str(recipe), *quick, monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    for word in ("full", "freeze", "reversed", "can save nothing", "of peak", "too few for intervals"):
        assert word in shown
    assert frostline("time", str(recipe), *quick, "--json", monkeypatch=monkeypatch) == 0
    (timing,) = json.loads(capsys.readouterr().out)
    assert [arm["arm"] for arm in timing["arms"]] == ["full", "freeze", "reversed"]


@pytest.mark.as_shipped
def test_run_show_and_report_go_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "cache"))
    recipe, run_folder = write_experiment(tmp_path, seeds=[0]), tmp_path / "run"
    assert frostline("run", str(recipe), "--out", str(run_folder), "--json", monkeypatch=monkeypatch) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["status"] == "finished"
    assert Path(printed["report"]).stat().st_size < 5_000_000

    assert frostline("show", str(run_folder), monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "C1" in shown
    assert "freeze" in shown
    assert frostline("show", str(run_folder), "--json", monkeypatch=monkeypatch) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((run_folder / "summary.json").read_text(encoding="utf-8"))

    (run_folder / "report.html").unlink()
    figures = tmp_path / "figures"
    assert frostline("report", str(run_folder), "--figures", str(figures), monkeypatch=monkeypatch) == 0
    assert (run_folder / "report.html").is_file()
    assert {path.suffix for path in figures.iterdir()} == {".svg", ".png"}

    assert frostline("run", str(recipe), "--out", str(run_folder), monkeypatch=monkeypatch) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_failed_arm_is_exit_code_1_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "cache"))
    recipe = write_experiment(tmp_path, seeds=[0])
    wild = ("--set", "arms.freeze.learning_rate=1e30", "--set", "training.gradient_clipping=null")
    code = frostline("run", str(recipe), "--out", str(tmp_path / "run"), "--json", *wild, monkeypatch=monkeypatch)
    assert code == 1
    (sentence,) = json.loads(capsys.readouterr().out)["failed"]
    assert "freeze" in sentence
    assert "freeze" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("training.stepz=3", ["training.stepz", "'steps'"]),
        ("arms.freeze.train=[atn.q]", ["arms.freeze", "atn.q", "attn.q"]),
        ("arms.freeze.train=[attn@40:]", ["arms.freeze", "@40:"]),
        ("arms.freeze.train=['re:(']", ["arms.freeze", "re:("]),
        ("seeds=[1,1]", ["seed 1 is repeated"]),
    ],
)
def test_a_mistake_in_the_recipe_is_one_line_and_exit_code_2(
    change: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_experiment(tmp_path)
    assert frostline("plan", str(recipe), "--set", change, monkeypatch=monkeypatch) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    for word in words:
        assert word in errors
