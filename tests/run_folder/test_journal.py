"""The journal is append-only, reads back what was written, and notices damage."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from frostline.errors import RunFolderError
from frostline.run_folder import (
    ArmFailed,
    CorpusFacts,
    Evaluation,
    Journal,
    RunEnded,
    VariantPrepared,
    WeightChange,
    read_journal,
    records_of,
    refuse_existing,
)

FACTS = CorpusFacts("a book", "ab" * 32, 1000, 100, 7, 2)


def evaluation(step: int, loss: float = 2.5, arm: str = "full") -> Evaluation:
    return Evaluation("", 3, arm, step, "held_out", loss, 100)


def test_records_read_back_as_they_were_written(tmp_path: Path) -> None:
    prepared = VariantPrepared(
        "", "m", "LlamaForCausalLM", "00", 5, 2, 64, FACTS, None, "fp32", "cpu", "lock-step", [" the"], 0.4
    )
    change = WeightChange("", 3, "full", 0, [0.1, 1e-30], [0.5, 0.25])
    with Journal(tmp_path) as journal:
        for record in (prepared, evaluation(0), evaluation(1), change):
            journal.append(record)
    lines = read_journal(tmp_path)
    assert records_of(lines, VariantPrepared) == [prepared]
    assert records_of(lines, Evaluation) == [evaluation(0), evaluation(1)]
    assert records_of(lines, WeightChange) == [change]


def test_each_arm_of_each_replicate_has_a_file_that_does_not_depend_on_the_others(tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder, arms in ((alone, ["full"]), (together, ["freeze", "full"])):
        folder.mkdir()
        with Journal(folder) as journal:
            for step in range(3):
                for arm in arms:
                    journal.append(evaluation(step, arm=arm))
    name = "variant0-seed3-full.jsonl"
    assert (alone / "journal" / name).read_bytes() == (together / "journal" / name).read_bytes()


def test_numbers_that_are_not_finite_are_null_in_the_file_and_nan_when_read(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(evaluation(0, math.inf))
    lines = read_journal(tmp_path)
    assert lines[0]["loss_nats"] is None
    assert math.isnan(records_of(lines, Evaluation)[0].loss_nats)


def test_lines_are_on_disk_before_the_journal_is_closed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(RunEnded("finished", "now", 1.0))
    assert len(read_journal(tmp_path)) == 1
    journal.close()


def test_torn_last_line_is_left_out(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(evaluation(0))
        journal.append(evaluation(1))
    path = tmp_path / "journal" / "variant0-seed3-full.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    assert [line["step"] for line in read_journal(tmp_path)] == [0]


def test_damage_before_the_end_names_file_and_line(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for step in range(3):
            journal.append(evaluation(step))
    path = tmp_path / "journal" / "variant0-seed3-full.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + "{broken\n" + lines[2])
    with pytest.raises(RunFolderError, match=r"full\.jsonl:2"):
        read_journal(tmp_path)
    path.write_text(lines[0] + lines[2])
    with pytest.raises(RunFolderError, match=r"full\.jsonl:2"):
        read_journal(tmp_path)


def test_a_line_is_one_json_object_with_sequence_and_kind(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(ArmFailed("", 0, "a", 3, "line one\nline two \u2028 <script>"))
    text = (tmp_path / "journal" / "variant0-seed0-a.jsonl").read_text(encoding="utf-8")
    assert text.count("\n") == 1
    assert json.loads(text)["sequence"] == 0
    assert json.loads(text)["kind"] == "ArmFailed"


def test_a_folder_without_a_journal_is_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="not a run folder"):
        read_journal(tmp_path)


def test_anything_at_the_run_folder_s_place_is_refused(tmp_path: Path) -> None:
    refuse_existing(tmp_path / "new")
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "dangling", "."):
        with pytest.raises(RunFolderError, match="exists already"):
            refuse_existing(tmp_path / name)
