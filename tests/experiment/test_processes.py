"""Whole commands in processes of their own: Ctrl+C, a full disk, exit codes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from frostline.run_folder import RunEnded, read_journal, records_of
from tests.builders.experiments import run_tiny, write_experiment
from tests.builders.processes import Processes


def test_one_interrupt_saves_and_stops_and_a_report_can_be_written_then(tmp_path: Path, processes: Processes) -> None:
    recipe, run_folder = write_experiment(tmp_path, seeds=[0]), tmp_path / "run"
    cache, output = tmp_path / "cache", tmp_path / "output.txt"
    journal = run_folder / "journal" / "variant0-seed0-full.jsonl"
    processes.begin(["run", str(recipe), "--out", str(run_folder), "--set", "training.steps=100000"], cache, output)
    processes.wait_until(lambda: journal.exists() and journal.read_text().count("StepTaken") >= 3)
    processes.send(signal.SIGINT)
    assert processes.wait() == 130, output.read_text()
    assert "Traceback" not in output.read_text()
    assert records_of(read_journal(run_folder), RunEnded)[0].status == "interrupted"
    assert "frostline resume" in output.read_text()
    assert not (run_folder / "report.html").exists()
    assert processes.run(["report", str(run_folder)], cache, output) == 0, output.read_text()
    assert json.loads((run_folder / "summary.json").read_text())["status"] == "interrupted"
    assert "interrupted" in (run_folder / "report.html").read_text().lower()


def test_a_full_disk_is_one_sentence_and_keeps_the_journal(tmp_path: Path, processes: Processes) -> None:
    recipe, run_folder = write_experiment(tmp_path, seeds=[0]), tmp_path / "run"
    cache, output = tmp_path / "cache", tmp_path / "output.txt"
    run_tiny(recipe, tmp_path / "first", ("training.steps=1",))  # the corpus is tokenised
    arguments = ["run", str(recipe), "--out", str(run_folder), "--set", "training.steps=500"]
    # The largest file stands in for the end of the disk.
    assert processes.run(arguments, cache, output, hook="largest-file:40000") == 2, output.read_text()
    assert "no space is left" in output.read_text()
    assert "Traceback" not in output.read_text()
    assert read_journal(run_folder)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nothing.yaml"], ["nothing.yaml", "no such recipe file"]),
        (["plan", "nothing.yaml"], ["nothing.yaml"]),
        (["show", "nowhere"], ["nowhere", "no such run folder"]),
        (["report", "nowhere"], ["nowhere", "no such run folder"]),
        (["init", "moby"], ["moby", "moby-dick"]),
        (["rum"], ["rum"]),
        (["run"], ["RECIPE"]),
    ],
)
def test_a_mistake_on_the_command_line_exits_with_2_and_no_traceback(
    arguments: list[str], words: list[str], tmp_path: Path, processes: Processes
) -> None:
    done = processes.python("-m", "frostline", *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert list(tmp_path.iterdir()) == []
