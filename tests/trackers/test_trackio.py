"""Trackio's database holds what the journal says, and nothing of the machine."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from frostline.trackers import track_run
from frostline.trackers.beside import Order
from tests.trackers.journals import Points, expected_points, same_points

pytest.importorskip("trackio")


def rows(folder: Path, table: str = "metrics") -> list[tuple[str, int, dict[str, object]]]:
    path = folder / "tiny.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        columns = "run_name, step, metrics" if table == "metrics" else "run_name, 0, metrics"
        try:
            found = database.execute(f"SELECT {columns} FROM {table} ORDER BY id").fetchall()
        except sqlite3.OperationalError:
            return []  # its tables are being made
    return [(name.rsplit("-", 1)[0], step, json.loads(values)) for name, step, values in found]


def points(folder: Path) -> dict[str, Points]:
    found: dict[str, Points] = {}
    for name, step, values in rows(folder):
        for metric, value in values.items():
            if isinstance(value, int | float):
                found.setdefault(name, {}).setdefault(metric, []).append((step, value))
    return found


def test_a_process_that_is_killed_is_followed_without_doubles_or_a_gap(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    folder = tmp_path / "trackio"
    order = Order(str(run), "trackio", str(folder), beside=False)
    command = [sys.executable, "-m", "frostline.trackers"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as first:
        assert first.stdin is not None
        first.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        first.stdin.flush()
        while not rows(folder) and first.poll() is None:
            time.sleep(0.005)
        first.kill()
    before = len(rows(folder))
    assert track_run(run, "trackio", folder, print).steps == 22 - before
    found, expected = points(folder), expected_points(run)
    assert found.keys() == expected.keys()
    assert all(same_points(found[name], expected[name]) for name in expected)
    assert rows(folder, "system_metrics") == []
    (verdicts,) = [values for name, _, values in rows(folder) if name == "verdicts"]
    assert verdicts.keys() == {"verdicts", "verdicts_table"}
    assert track_run(run, "trackio", folder, print).steps == 0
