"""Weights & Biases and MLflow, where they are installed: what they keep is what the journal says, each step once."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path

import pytest

from frostline.trackers import track_run
from tests.trackers.journals import Points, expected_points, same_points


def test_mlflow_keeps_each_point_once_also_where_a_run_of_it_was_begun(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    assert track_run(run, "mlflow", tmp_path, print).steps == 22
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        # As if the process had been killed after three steps of one arm.
        (number,) = database.execute("SELECT run_uuid FROM runs WHERE name = 'full-seed0'").fetchone()
        for table in ("metrics", "latest_metrics"):
            database.execute(f"DELETE FROM {table} WHERE run_uuid = ? AND step > 2", (number,))
        database.execute("INSERT INTO latest_metrics VALUES ('told_step', 2.0, 0, 2, 0, ?)", (number,))
        database.commit()
    assert track_run(run, "mlflow", tmp_path, print).steps == 4
    found: dict[str, Points] = {}
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        query = "SELECT name, key, step, value FROM metrics JOIN runs USING (run_uuid) ORDER BY step"
        for name, metric, step, value in database.execute(query):
            if metric != "told_step":
                found.setdefault(name, {}).setdefault(metric, []).append((step, value))
        assert {state for (state,) in database.execute("SELECT status FROM runs")} == {"FINISHED"}
    expected = expected_points(run)
    assert all(same_points(found[name], expected[name]) for name in expected)
    assert len(list(tmp_path.rglob("verdicts.md"))) == 1


def wandb_records(path: Path) -> Iterator[bytes]:
    """The records of a file in the format of LevelDB's logs: blocks of 32 KiB, of parts with a header of 7 bytes."""
    content, at, record = path.read_bytes(), 7, b""
    while at < len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # the whole, or its last part
            yield record
            record = b""


def test_wandb_keeps_one_whole_folder_of_each_run_and_sends_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert track_run(run, "wandb", tmp_path, print).steps == 22
    folders = {path.name.rsplit("-", 1)[1]: path for path in (tmp_path / "wandb").glob("offline-run-*")}
    assert len(folders) == 4
    (left,) = [path for path in folders.values() if b"full-seed0" in next(path.glob("*.wandb")).read_bytes()]
    (left / "frostline.json").unlink()  # as if the process had been killed before its end
    assert track_run(run, "wandb", tmp_path, print).steps == 7
    again = {path.name.rsplit("-", 1)[1]: path for path in (tmp_path / "wandb").glob("offline-run-*")}
    assert again.keys() == folders.keys()
    found: dict[str, Points] = {}
    for path in again.values():
        name, points = read_wandb(next(path.glob("*.wandb")))
        found[name] = points
    expected = expected_points(run)
    assert all(same_points(found[name], expected[name]) for name in expected)


def read_wandb(path: Path) -> tuple[str, Points]:
    """Name and points of a run."""
    record_of = import_module("wandb.proto.wandb_internal_pb2").Record.FromString

    name = ""
    found: Points = {}
    for content in wandb_records(path):
        record = record_of(content)
        name = record.run.display_name or name
        # Parts of texts and tables have a path of keys.
        values = {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for metric, value in values.items():
            if isinstance(value, int | float) and metric[0] != "_" and "." not in metric:
                found.setdefault(metric, []).append((values["_step"], value))
    return name, found
