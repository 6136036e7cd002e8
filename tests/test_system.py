"""Frostline runs on Linux and macOS; elsewhere it says so in one sentence, before anything else happens."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import frostline
from frostline.system import require_supported_system
from tests.cli.test_app import frostline as command


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_system_with_signals_is_supported(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    require_supported_system()


@pytest.mark.parametrize("arguments", [["run", "demo.yaml"], ["--help"], ["env"]])
def test_windows_is_refused_by_the_command_line_in_one_sentence(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert command(*arguments, monkeypatch=monkeypatch) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: Frostline does not run on Windows itself. Install the Windows Subsystem")
    assert printed.err.count("\n") == 1


def test_windows_is_refused_by_verbs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(frostline.FrostlineError, match="does not run on Windows"):
        frostline.run({"arms": {"full": {"train": "all"}}}, tmp_path / "run", cache=tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []
