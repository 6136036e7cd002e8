"""A tracker shows what the journal says, each step once, whatever happens to the run and to whoever tells."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from frostline.errors import FrostlineError
from frostline.trackers.telling import Telling
from tests.trackers.journals import Kept, KilledError

ARM = "variant0-seed0-full.jsonl"


def tell_all(run: Path, kept: Kept, folder: Path) -> int:
    telling = Telling(run, kept.kind, folder)
    telling.tell_new()
    telling.end()
    return telling.told_rows


def growing(run: Path, to: Path) -> dict[str, list[bytes]]:
    """The lines of each file of a journal that is to be written anew, in `to`."""
    (to / "journal").mkdir(parents=True)
    shutil.copy(run / "experiment.yaml", to)
    return {path.name: path.read_bytes().splitlines(keepends=True) for path in (run / "journal").glob("*.jsonl")}


def test_a_run_that_is_over_is_told_once_with_the_verdicts_of_its_summary(run: Path, tmp_path: Path) -> None:
    kept = Kept()
    assert tell_all(run, kept, tmp_path) == 3 * 7 + 1
    assert kept.shows(run)
    assert all(each.ended[-1] == "finished" for each in kept.runs.values())
    assert len({each.run.group for each in kept.runs.values()}) == 1
    assert kept.runs["freeze-seed0"].run.config["plan"] == "train: [attn.qkv@50%:]"
    (verdicts,) = kept.runs["verdicts"].rows
    assert {row[1] for row in verdicts.tables["verdicts"].rows} >= {"freeze", "reversed"}
    assert tell_all(run, kept, tmp_path) == 0
    assert kept.shows(run)


def test_a_folder_that_takes_nothing_is_told_in_a_sentence(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    kept, folder = Kept(), tmp_path / "file"
    with pytest.raises(FrostlineError) as caught:
        tell_all(run, kept, folder)
    told = f"{folder}: what {kept.kind.name} is told cannot be kept there (Not a directory)."
    assert caught.value.message == told
    assert caught.value.hint == "Name another folder: frostline track RUN --to TRACKER --dir FOLDER."


def test_texts_are_told_as_code_beside_the_last_losses(run: Path, tmp_path: Path) -> None:
    kept = Kept()
    tell_all(run, kept, tmp_path)
    last = kept.runs["full-seed0"].rows[-1]
    assert (last.step, sorted(last.texts)) == (6, ["text_0", "text_1", "text_2"])
    written = [json.loads(line) for line in (run / "journal" / ARM).read_text().splitlines()]
    texts = [line["text"] for line in written if line["kind"] == "Continuation"]
    for text, told in zip(texts, last.texts.values(), strict=True):
        assert all(line.startswith("    ") for line in told.splitlines())
        assert " ".join(text.split()) in " ".join(told.split())


def test_what_is_told_as_it_comes_is_what_is_told_at_the_end(run: Path, tmp_path: Path) -> None:
    lines = growing(run, tmp_path / "run")
    kept = Kept()
    telling = Telling(tmp_path / "run", kept.kind, tmp_path)
    for name in sorted(lines, key=lambda name: name != "run.jsonl"):
        for line in lines[name]:
            with (tmp_path / "run" / "journal" / name).open("ab") as file:
                for part in (line[:20], line[20:]):  # half a line is none
                    file.write(part)
                    file.flush()
                    telling.tell_new()
    telling.end()
    assert kept.shows(run)


def test_a_run_that_goes_on_from_its_checkpoint_is_told_no_step_twice_and_none_is_left_out(
    run: Path, tmp_path: Path
) -> None:
    lines = growing(run, tmp_path / "run")
    journal = tmp_path / "run" / "journal"
    for name, content in lines.items():
        (journal / name).write_bytes(b"".join(content if name == "run.jsonl" else content[:12]))
    kept = Kept()
    telling = Telling(tmp_path / "run", kept.kind, tmp_path)
    telling.tell_new()
    before = len(kept.runs["full-seed0"].rows)
    for name, content in lines.items():
        (journal / name).write_bytes(b"".join(content if name == "run.jsonl" else content[:7]))
    telling.tell_new()
    assert len(kept.runs["full-seed0"].rows) == before == 3
    for name, content in lines.items():
        (journal / name).write_bytes(b"".join(content))
    telling.tell_new()
    telling.end()
    assert kept.shows(run)
    assert kept.runs["full-seed0"].rows[-1].values.keys() == {"held_out_loss", "retention_loss"}


def test_whoever_is_killed_after_any_row_is_followed_without_a_gap(run: Path, tmp_path: Path) -> None:
    for rows in range(8):
        kept = Kept(left=rows)
        if rows < 7:
            with pytest.raises(KilledError):
                Telling(run, kept.kind, tmp_path / str(rows)).tell_new()
        kept.left = None
        tell_all(run, kept, tmp_path / f"again-{rows}")
        assert kept.shows(run), rows


def test_an_arm_that_failed_waits_to_be_tried_again(run: Path, tmp_path: Path) -> None:
    lines = growing(run, tmp_path / "run")
    (tmp_path / "run" / "journal" / "run.jsonl").write_bytes(b"".join(lines["run.jsonl"]))
    arm = tmp_path / "run" / "journal" / ARM
    # Held-out loss after three steps was measured, and the fourth step failed.
    failed = {"sequence": 14, "kind": "ArmFailed", "variant": "", "seed": 0, "arm": "full", "step": 3, "cause": "full"}
    assert b'"Evaluation"' in lines[ARM][12]
    assert b'"StepTaken"' in lines[ARM][13]
    failed["sequence"] = 13
    arm.write_bytes(b"".join(lines[ARM][:13]) + json.dumps(failed).encode() + b"\n")
    kept = Kept()
    telling = Telling(tmp_path / "run", kept.kind, tmp_path)
    telling.tell_new()
    assert (kept.runs["full-seed0"].told_until, kept.runs["full-seed0"].ended) == (2, ["failed"])
    arm.write_bytes(b"".join(lines[ARM]))
    telling.tell_new()
    assert kept.runs["full-seed0"].ended == ["failed", "finished"]
    assert [row.step for row in kept.runs["full-seed0"].rows] == [0, 1, 2, 3, 4, 5, 6]
    assert "held_out_loss" in kept.runs["full-seed0"].rows[3].values


def test_another_run_in_the_same_folder_is_not_taken_for_this_one(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    telling = Telling(tmp_path / "run", Kept().kind, tmp_path)
    telling.tell_new()
    file = tmp_path / "run" / "journal" / "run.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"at": "20', b'"at": "21'))
    with pytest.raises(FrostlineError, match="another run has begun there"):
        telling.tell_new()
