"""Frostline runs on Linux and macOS; elsewhere it says so in one sentence, before anything else happens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import frostline
from frostline.system import ask_for_huge_pages, require_supported_system
from tests.cli.test_app import frostline as command

_HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


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


def test_huge_pages_are_asked_for_unless_the_environment_has_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    ask_for_huge_pages()
    assert os.environ.pop("THP_MEM_ALLOC_ENABLE") == "1"
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    ask_for_huge_pages()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "0"


@pytest.mark.skipif(
    not any(f"[{kind}]" in _HUGE.read_text() for kind in ("madvise", "always")) if _HUGE.exists() else True,
    reason="this system has no huge pages for those who ask",
)
def test_torch_takes_memory_in_huge_pages_after_all_rooms_were_imported() -> None:
    program = """
from frostline.system import ask_for_huge_pages
ask_for_huge_pages()
import frostline.experiment, torch
values = torch.ones(1 << 24)
print(next(line.split()[1] for line in open("/proc/self/smaps_rollup") if line.startswith("AnonHugePages")))
"""
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    printed = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert int(printed.stdout) > 30_000  # of 64 MB, in kB; fewer where memory lies in pieces
