"""What each command says of itself, and what shape its JSON has, is what stands in tests/cli/snapshots.

Look at a change, then take it over: FROSTLINE_SNAPSHOTS=write python -m pytest tests/cli/test_snapshots.py
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
import typer

import frostline
from frostline.cli import main
from frostline.cli.command import app
from frostline.report import write_report
from frostline.stats import write_summary
from tests.builders.experiments import run_tiny, write_experiment

SNAPSHOTS = Path(__file__).parent / "snapshots"
COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def same_as_snapshot(name: str, text: str) -> None:
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("FROSTLINE_SNAPSHOTS") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command prints to standard output, on a terminal of 100 columns without colours."""
    monkeypatch.setattr(sys, "argv", ["frostline", *arguments])
    for name, value in (("COLUMNS", "100"), ("NO_COLOR", "1"), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main()
    out, errors = capsys.readouterr()
    assert ended.value.code in (0, None), errors
    text = "\n".join(line.rstrip() for line in out.splitlines()) + "\n"
    return re.sub(r"Usage: .*?frostline", "Usage: frostline", text)  # the program is whatever runs the tests


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_of_every_command(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [command, "--help"] if command else ["--help"]
    text = printed(monkeypatch, capsys, *arguments)
    same_as_snapshot(f"help-{command or 'frostline'}", text)
    assert "frostline" in text.split("Usage")[1].split("Examples")[-1], "it shows an example"


MARKUP = {"[bold]", "[/]"}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_stands_in_brackets_is_printed_in_the_help(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    written = [made.epilog, made.help, *(getattr(parameter, "help", None) for parameter in made.params)]
    in_brackets = {found for text in written for found in re.findall(r"\[[^\]]*\]", text or "")} - MARKUP
    text = " ".join(printed(monkeypatch, capsys, command, "--help").split())
    assert [found for found in in_brackets if found not in text] == []


BY_OUTCOME = {"against", "asked", "control", "dropped", "loss_in_equal_time", "losses", "settled"}
"""Keys of an advice below which names stand that depend on who wins, which depends on the machine."""


def shape(value: object, indent: str = "") -> list[str]:
    """Keys and types, of lists those of their first item: what scripts rely on, whatever was measured and could be."""
    if isinstance(value, dict):
        lines = []
        for key, below in value.items():
            if key in BY_OUTCOME:
                lines.append(f"{indent}{key}: by the outcome")
                continue
            inner = shape(below, indent + "  ")
            lines += [f"{indent}{key}: {inner[0].strip()}"] if len(inner) == 1 else [f"{indent}{key}:", *inner]
        return lines or [f"{indent}mapping"]
    if isinstance(value, list):
        of_mappings = value and isinstance(value[0], dict)
        return [f"{indent}list of", *shape(value[0], indent + "  ")] if of_mappings else [f"{indent}list"]
    if value is None or (isinstance(value, float | int) and not isinstance(value, bool)):
        return [f"{indent}number or null"]
    return [f"{indent}{type(value).__name__}"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model, corpus and recipe, and a run that has finished."""
    folder = tmp_path_factory.mktemp("snapshots")
    run_tiny(write_experiment(folder, seeds=[0], save={"freeze": "all"}), folder / "run", fresh=False)
    write_summary(folder / "run")
    write_report(folder / "run")
    frostline.export_arm(folder / "run", "freeze", "patch", out=folder / "patch", cache=folder / "cache")
    return folder


WITH_JSON: dict[str, list[str]] = {
    "init": [],
    "env": [],
    "corpus": ["recipe.yaml", "--first", "1"],
    "plan": ["recipe.yaml"],
    "estimate": ["recipe.yaml"],
    "time": ["recipe.yaml", "--rounds", "3", "--no-memory"],
    "run": ["recipe.yaml", "--out", "again"],
    "resume": ["run"],
    "show": ["run"],
    "report": ["run"],
    "verify": ["run"],
    "blind": ["run"],
    "track": ["run", "--to", "tensorboard"],
    "export": ["run", "--arm", "freeze"],
    "apply-patch": ["model", "patch/patch.safetensors"],
    "inspect": ["run", "--signal", "snr"],
    "advise": ["recipe.yaml", "--out", "advice", "--steps", "3", "--signal", "snr"],
}


def test_every_command_that_prints_json_is_here() -> None:
    assert set(WITH_JSON) == set(COMMANDS) - {"watch"}, "it prints nothing but where to look"


@pytest.mark.parametrize("command", WITH_JSON)
def test_shape_of_the_json_of_every_command(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FROSTLINE_CACHE", str(folder / "cache"))
    text = printed(monkeypatch, capsys, command, *WITH_JSON[command], "--json")
    same_as_snapshot(f"json-{command}", "\n".join(shape(json.loads(text))) + "\n")


def test_what_is_read_is_printed_without_colours(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FROSTLINE_CACHE", str(folder / "cache"))
    same_as_snapshot("corpus", printed(monkeypatch, capsys, "corpus", "recipe.yaml", "--first", "2"))
