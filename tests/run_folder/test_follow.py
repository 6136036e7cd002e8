"""Following a journal gives what reading it gives, whenever one looks, and whatever a resume has cut back."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path

import pytest

from frostline.errors import RunFolderError
from frostline.run_folder import (
    BEGINNING,
    ArmPlace,
    CutBack,
    Evaluation,
    Journal,
    JournalFollower,
    JournalLine,
    JournalPosition,
    RunEnded,
    RunStarted,
    read_journal,
)

FILE = "variant0-seed3-full.jsonl"
PLACE = ArmPlace("", 3, "full")


def evaluation(step: int, loss: float = 2.5, arm: str = "full") -> Evaluation:
    return Evaluation("", 3, arm, step, "held_out", loss, 100)


class Kept:
    """What a follower has told, as its reader keeps it."""

    def __init__(self, folder: Path, positions: dict[str, JournalPosition] | None = None) -> None:
        self.follower = JournalFollower(folder, positions=positions)
        self.lines: dict[str, list[dict[str, object]]] = {}
        self.cuts: list[CutBack] = []

    def look(self) -> list[dict[str, object]]:
        for change in self.follower.read_new():
            own = self.lines.setdefault(change.file, [])
            if isinstance(change, CutBack):
                self.cuts.append(change)
                del own[change.lines :]
            else:
                assert change.sequence == len(own), "no double, no gap"
                own.append(change.values)
        return [line for _, lines in sorted(self.lines.items()) for line in lines]


def test_what_is_new_comes_once_and_a_torn_line_when_it_is_whole(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "run")
    assert kept.look() == [], "the run folder is not there yet"
    (tmp_path / "run").mkdir()
    with Journal(tmp_path / "run") as journal:
        journal.append(RunStarted("0", "", "now", {}))
        for step in range(3):
            journal.append(evaluation(step))
    assert [type(change) for change in kept.follower.read_new(most=1)] == [JournalLine]
    kept = Kept(tmp_path / "run")
    assert kept.look() == read_journal(tmp_path / "run")
    path = tmp_path / "run" / "journal" / FILE
    line = path.read_bytes().splitlines(keepends=True)[0].replace(b'"sequence": 0', b'"sequence": 3')
    with path.open("ab") as file:
        file.write(line[:20])
        file.flush()
        assert list(kept.follower.read_new()) == []
        file.write(line[20:])
    (change,) = kept.follower.read_new()
    assert isinstance(change, JournalLine)
    assert (change.file, change.sequence) == (FILE, 3)
    assert kept.cuts == []


def test_whenever_one_looks_and_wherever_a_run_goes_back_to_what_is_kept_is_the_journal(tmp_path: Path) -> None:
    dice = random.Random(0)
    readers = [(Kept(tmp_path), share) for share in (1.0, 0.2, 0.02)]
    with Journal(tmp_path) as journal:
        arm = journal.of(PLACE)
        places = [arm.position]
        for turn in range(300):
            if dice.random() < 0.03:
                place = dice.choice(places)
                arm.rewind(place)
                places = [own for own in places if own.bytes <= place.bytes]
            if dice.random() < 0.01:
                journal.cut_run_file(0)
            arm.append(evaluation(turn, loss=dice.random()))
            places.append(arm.position)
            journal.append(RunEnded("interrupted", "now", dice.random()))
            for reader, share in readers:
                if dice.random() < share:
                    assert reader.look() == read_journal(tmp_path)
    for reader, _ in readers:
        assert reader.look() == read_journal(tmp_path)
        assert reader.cuts, "it was cut back"


def test_a_cut_keeps_most_of_a_long_file(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    with Journal(tmp_path) as journal:
        arm = journal.of(PLACE)
        for step in range(2000):
            arm.append(evaluation(step))
            if step == 1500:
                middle = arm.position
        kept.look()
        arm.rewind(middle)
        for step in range(900):
            arm.append(evaluation(step, loss=0.5))
    assert kept.look() == read_journal(tmp_path)
    (cut,) = kept.cuts
    assert 1400 < cut.lines <= 1501


def test_another_process_goes_on_where_the_first_one_stood(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        arm = journal.of(PLACE)
        arm.append(evaluation(0))
        first = Kept(tmp_path)
        first.look()
        positions = {
            name: JournalPosition(**json.loads(json.dumps(asdict(position))))
            for name, position in first.follower.positions.items()
        }
        arm.append(evaluation(1))
        (line,) = JournalFollower(tmp_path, positions=positions).read_new()
        assert isinstance(line, JournalLine)
        assert line.sequence == 1
        arm.rewind(BEGINNING)
        arm.append(evaluation(0, loss=9.0))
        changes = list(JournalFollower(tmp_path, positions=positions).read_new())
        assert changes[0] == CutBack(FILE, 0)
        assert [change.sequence for change in changes if isinstance(change, JournalLine)] == [0]


def test_a_file_can_be_read_anew(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(RunStarted("0", "", "now", {}))
        journal.append(evaluation(0))
    follower = JournalFollower(tmp_path)
    both = list(follower.read_new())
    follower.read_anew(FILE)
    assert list(follower.read_new()) == both[1:]


def test_only_wanted_kinds_are_given_and_their_numbers_stay(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(RunStarted("0", "", "now", {}))
        journal.append(RunEnded("finished", "now", 1.0))
    (line,) = JournalFollower(tmp_path, kinds={"RunEnded"}).read_new()
    assert isinstance(line, JournalLine)
    assert (line.sequence, line.values["status"]) == (1, "finished")


def test_damage_names_file_and_line_and_links_are_not_followed(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(evaluation(0))
    (tmp_path / "journal" / "other.jsonl").symlink_to(tmp_path / "journal" / FILE)
    assert [change.file for change in JournalFollower(tmp_path).read_new()] == [FILE]
    with (tmp_path / "journal" / FILE).open("ab") as file:
        file.write(b"{broken\n")
    follower = JournalFollower(tmp_path)
    for _ in range(2):
        with pytest.raises(RunFolderError, match=r"full\.jsonl:2"):
            list(follower.read_new())
