"""How long a run was worked on adds up over processes, whatever the machine's clock does in between."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from frostline.run_folder.sessions import begin_session, end_session


def run_folder(tmp_path: Path) -> Path:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "run.jsonl").write_text("{}\n")
    return tmp_path


def began(folder: Path, seconds_ago: float, last_line_ago: float) -> None:
    """A process began, and wrote its last line in the journal, so long ago."""
    now = time.time()
    with (folder / "sessions.jsonl").open("a") as file:
        file.write(json.dumps({"began_at": now - seconds_ago, "seconds_before": 100.0}) + "\n")
    os.utime(folder / "journal" / "run.jsonl", (now - last_line_ago, now - last_line_ago))


def test_a_first_process_has_nothing_before_it(tmp_path: Path) -> None:
    assert begin_session(run_folder(tmp_path)).seconds_before == 0


def test_a_killed_process_counts_up_to_its_last_line(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    began(folder, seconds_ago=1000, last_line_ago=400)
    assert begin_session(folder).seconds_before == pytest.approx(700, abs=5)


def test_a_clock_that_was_set_back_takes_nothing_away(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    began(folder, seconds_ago=-5000, last_line_ago=400)
    assert begin_session(folder).seconds_before == 100


def test_a_torn_line_and_the_lines_of_ends_are_passed_over(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    began(folder, seconds_ago=1000, last_line_ago=400)
    end_session(folder, "interrupted", 3, 1.5, 600.0)
    with (folder / "sessions.jsonl").open("a") as file:
        file.write('{"began_at": 1')
    assert begin_session(folder).seconds_before == pytest.approx(700, abs=5)


def test_machines_that_take_turns_with_other_clocks_go_by_that_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, now = run_folder(tmp_path), time.time()
    monkeypatch.setattr("time.time", lambda: now + 3600)
    begin_session(folder)  # and is killed at once
    os.utime(folder / "journal" / "run.jsonl", (now + 60, now + 60))
    monkeypatch.setattr("time.time", lambda: now - 3600)
    assert begin_session(folder).seconds_before == pytest.approx(60, abs=5)
