"""A sealed folder is whole or not there, whatever happens while it is written and to what is there."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

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
