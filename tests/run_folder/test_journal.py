"""The journal is append-only, reads back what was written, and notices damage."""

from __future__ import annotations

import json
import math
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from frostline.errors import RunFolderError
from frostline.run_folder import (
    ArmFailed,
    ArmPlace,
    CorpusFacts,
    Evaluation,
    Journal,
    RunEnded,
    VariantPrepared,
    WeightChange,
    read_journal,
    record_of,
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


def test_a_record_takes_its_fields_from_what_it_is_made_of() -> None:
    @dataclass
    class Measured:
        loss_nats: float = 2.5
        predictions: int = 7
        step: int = 1

    made = record_of(Evaluation, ArmPlace("", 3, "full"), Measured(), step=4, corpus="held_out")
    assert made == Evaluation("", 3, "full", 4, "held_out", 2.5, 7)
    with pytest.raises(TypeError, match=r"Evaluation\.corpus: given by none of Measured"):
        record_of(Evaluation, ArmPlace("", 3, "full"), Measured())


def test_what_is_written_about_an_arm_can_be_cut_back_to_a_place(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        arm = journal.of(ArmPlace("", 3, "full"))
        for step in range(3):
            arm.append(evaluation(step, arm="full"))
            if step == 1:
                place = arm.position
        arm.rewind(place)
        assert [line["step"] for line in arm.records()] == [0, 1]
        arm.append(evaluation(9, arm="full"))
        assert [line["sequence"] for line in arm.records()] == [0, 1, 2]
        with pytest.raises(RunFolderError, match="are not what was written there"):
            journal.of(ArmPlace("", 0, "other")).rewind(place)


def test_a_full_disk_is_told_in_a_sentence_and_leaves_whole_lines(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(evaluation(0))
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        size = sum(path.stat().st_size for path in (tmp_path / "journal").iterdir())
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            with pytest.raises(RunFolderError, match="no space is left on the disk"):
                journal.append(evaluation(1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
    assert [line["step"] for line in read_journal(tmp_path)] == [0]
