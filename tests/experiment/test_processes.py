"""Real processes: Ctrl+C, a full disk, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from frostline.run_folder import RunEnded, read_journal, records_of
from tests.builders.experiments import run_tiny, write_experiment


def command(recipe: Path, run_folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "frostline", "run", str(recipe), "--out", str(run_folder), *arguments]


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"FROSTLINE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}


LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))  # the largest file stands in for the end of the disk
sys.argv = ["frostline", *sys.argv[1:]]
runpy.run_module("frostline", run_name="__main__")
"""


def test_one_interrupt_saves_and_stops_and_a_report_can_be_written_then(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, seeds=[0])
    run_folder = tmp_path / "run"
    process = subprocess.Popen(
        command(recipe, run_folder, "--set", "training.steps=100000"),
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    journal = run_folder / "journal" / "variant0-seed0-full.jsonl"
    deadline = time.monotonic() + 90
    while not journal.exists() or journal.read_text().count("StepTaken") < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=90)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert records_of(read_journal(run_folder), RunEnded)[0].status == "interrupted"
    assert "frostline resume" in output
    assert not (run_folder / "report.html").exists()
    written = subprocess.run(
        [sys.executable, "-m", "frostline", "report", str(run_folder)], capture_output=True, text=True, check=False
    )
    assert written.returncode == 0, written.stderr
    assert json.loads((run_folder / "summary.json").read_text())["status"] == "interrupted"
    assert "interrupted" in (run_folder / "report.html").read_text().lower()


def test_a_full_disk_is_one_sentence_and_keeps_the_journal(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, seeds=[0])
    run_folder = tmp_path / "run"
    run_tiny(recipe, tmp_path / "first")  # the corpus is tokenised
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *command(recipe, run_folder, "--set", "training.steps=500")[3:]],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "no space is left" in done.stderr
    assert "Traceback" not in done.stderr
    assert read_journal(run_folder)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nothing.yaml"], ["nothing.yaml", "no such recipe file"]),
        (["plan", "nothing.yaml"], ["nothing.yaml"]),
        (["show", "nowhere"], ["nowhere", "no such run folder"]),
        (["report", "nowhere"], ["nowhere", "not a run folder"]),
        (["init", "moby"], ["moby", "moby-dick"]),
        (["rum"], ["rum"]),
        (["run"], ["RECIPE"]),
    ],
)
def test_a_mistake_on_the_command_line_exits_with_2_and_no_traceback(
    arguments: list[str], words: list[str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "frostline", *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert list(tmp_path.iterdir()) == []
