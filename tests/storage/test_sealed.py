"""A sealed folder is whole or not there, whatever happens while it is written and to what is there."""

from __future__ import annotations

import errno
import os
import time
from functools import partial
from pathlib import Path

import pytest

from frostline.storage import sealed
from frostline.storage.sealed import Facts, SealBrokenError, open_sealed, replace_file, seal, write_file
from tests.builders.faults import DiskFaults, killed_at


def write(folder: Path) -> Facts:
    write_file(folder / "one.bin", b"frost" * 1000)
    write_file(folder / "two.bin", b"line" * 1000)
    return {"steps": 3}


def damage(folder: Path, file: str, how: str) -> None:
    path = folder / file
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()


@pytest.mark.parametrize("file", ["one.bin", "two.bin", "facts.json"])
@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "gone"])
def test_damage_is_found_and_the_file_named(tmp_path: Path, file: str, how: str) -> None:
    seal(tmp_path, "key", write)
    assert open_sealed(tmp_path, "key").facts == {"steps": 3}
    damage(tmp_path / "key", file, how)
    with pytest.raises(SealBrokenError, match=file):
        open_sealed(tmp_path, "key")


def test_a_foreign_file_and_another_place_are_found(tmp_path: Path) -> None:
    seal(tmp_path, "key", write)
    (tmp_path / "key").rename(tmp_path / "other")
    with pytest.raises(SealBrokenError, match="another version or place"):
        open_sealed(tmp_path, "other")
    seal(tmp_path, "key", write)
    (tmp_path / "key" / "three.bin").write_bytes(b"")
    with pytest.raises(SealBrokenError, match=r"three\.bin"):
        open_sealed(tmp_path, "key")


def test_a_fault_at_any_operation_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    faults = DiskFaults()
    with faults.active():
        seal(tmp_path / "counted", "key", write)
    assert len(faults.seen) >= 20
    assert {"write", "fsync", "rename", "mkdir"} <= set(faults.seen)
    for number in range(len(faults.seen)):
        parent = tmp_path / str(number)
        try:
            with DiskFaults(number).active():
                seal(parent, "key", write)
        except OSError:
            pass
        if (parent / "key").exists():
            assert open_sealed(parent, "key").facts == {"steps": 3}
        seal(parent, "key", write)
        assert open_sealed(parent, "key").facts == {"steps": 3}


def test_a_process_killed_at_any_operation_leaves_nothing_half_done(tmp_path: Path) -> None:
    number = 0
    while killed_at(number, partial(seal, tmp_path / str(number), "key", write)):
        parent = tmp_path / str(number)
        if (parent / "key").exists():
            assert open_sealed(parent, "key").facts == {"steps": 3}
        seal(parent, "key", write)
        assert open_sealed(parent, "key").facts == {"steps": 3}
        assert [path.name for path in parent.iterdir()] == ["key"]
        number += 1
    assert number > 15


def test_a_replaced_file_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    number = 0
    while True:
        path.write_bytes(b"old")
        if not killed_at(number, lambda: replace_file(path, b"new" * 1000)):
            break
        assert path.read_bytes() in (b"old", b"new" * 1000)
        number += 1
    assert number > 3
    assert path.read_bytes() == b"new" * 1000
    replace_file(path, b"newest")
    assert path.read_bytes() == b"newest"
    assert [found.name for found in tmp_path.iterdir()] == ["file.txt"]


WEEK, HOUR = 7 * 86_400, 3_600


def half_written(parent: Path, name: str, age: float) -> Path:
    """A folder that a process of some machine is filling, or was, last touched so many seconds ago."""
    folder = parent / name
    folder.mkdir(parents=True)
    (folder / "half.bin").write_bytes(b"half")
    for path in (folder / "half.bin", folder):
        os.utime(path, (time.time() - age, time.time() - age))
    return folder


def test_what_another_machine_left_half_written_goes_after_a_week(tmp_path: Path) -> None:
    old = half_written(tmp_path, ".writing-node17-4711-abc", WEEK + HOUR)
    young = half_written(tmp_path, ".writing-node17-4712-abc", WEEK - HOUR)
    ahead = half_written(tmp_path, ".writing-node18-4711-abc", -HOUR)  # its clock is an hour ahead
    at_work = half_written(tmp_path, ".writing-node18-4712-abc", WEEK + HOUR)
    (at_work / "half.bin").write_bytes(b"more")
    seal(tmp_path, "key", write)
    assert not old.exists()
    assert young.exists()
    assert ahead.exists()
    assert at_work.exists()


def test_where_no_other_machine_writes_it_goes_at_once(tmp_path: Path) -> None:
    left = half_written(tmp_path, ".writing-node17-4711-abc", 0)
    sealed.remove_abandoned(tmp_path, alone=True)
    assert not left.exists()


@pytest.mark.parametrize(("one", "other"), [("gpu-1-1", "gpu-11"), ("node", "node.cluster"), ("a", "b")])
def test_a_machine_of_another_name_is_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: str, other: str
) -> None:
    """Whose process of that number is at work, though there is none of it here."""
    monkeypatch.setattr("socket.gethostname", lambda: one)
    at_work = half_written(tmp_path, f".writing-{sealed._host()}-999999999-abc", 0)
    monkeypatch.setattr("socket.gethostname", lambda: other)
    seal(tmp_path, "key", write)
    assert at_work.exists()
    monkeypatch.setattr("socket.gethostname", lambda: one)
    seal(tmp_path, "other", write)
    assert not at_work.exists()


def test_machines_of_one_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = sealed._host()
    boot = tmp_path / "boot_id"
    boot.write_text("of another machine")
    monkeypatch.setattr(sealed, "_BOOT", boot)
    assert sealed._host() != own


def test_of_two_that_put_the_same_folder_in_its_place_the_first_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However close they come: the other one is done just before this one's rename."""
    put = sealed._put_in_place

    def just_after_another(temporary: Path, parent: Path, key: str) -> None:
        monkeypatch.setattr(sealed, "_put_in_place", put)
        seal(parent, key, lambda folder: {**write(folder), "steps": 7})
        number = (parent / key).stat().st_ino
        put(temporary, parent, key)
        assert (parent / key).stat().st_ino == number, "somebody may have opened it"

    monkeypatch.setattr(sealed, "_put_in_place", just_after_another)
    seal(tmp_path, "key", write)
    assert open_sealed(tmp_path, "key").facts == {"steps": 7}
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_damage_that_two_processes_find_at_once_is_put_right_by_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal(tmp_path, "key", write)
    damage(tmp_path / "key", "one.bin", "cut")
    remove_damaged = sealed._remove_damaged

    def just_after_another(target: Path) -> None:
        monkeypatch.setattr(sealed, "_remove_damaged", remove_damaged)
        seal(target.parent, target.name, write)
        remove_damaged(target)

    monkeypatch.setattr(sealed, "_remove_damaged", just_after_another)
    seal(tmp_path, "key", write)
    assert open_sealed(tmp_path, "key").facts == {"steps": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("again", [False, True])
def test_what_another_process_removes_while_this_one_looks_at_it_is_no_trouble(
    again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To make room, say: the rename fails for what is there, and then nothing, or something else, is there."""
    seal(tmp_path, "key", write)
    is_whole, looks = sealed._is_whole, 0

    def just_after_another(parent: Path, key: str) -> bool:
        nonlocal looks
        looks += 1
        sealed.remove_whole(parent / key)
        if again and looks == 1:
            (parent / key).mkdir()
            (parent / key / "left").touch()
        return is_whole(parent, key)

    monkeypatch.setattr(sealed, "_is_whole", just_after_another)
    seal(tmp_path, "key", lambda folder: {**write(folder), "steps": 7})
    assert open_sealed(tmp_path, "key").facts == {"steps": 7}
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def refused(path: Path, target: Path) -> Path:
        tries.append(target)
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(PermissionError):
        seal(tmp_path, "key", write)
    assert len(tries) == 1
