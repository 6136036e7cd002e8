"""Does a folder of entries keep its bound, by what was used last, without an entry that somebody reads?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.storage import Facts, bounded_entry
from frostline.storage.bounded import SHARE_OF_DISK, default_bound, make_room_for

BYTES = 10_000


def write(folder: Path) -> Facts:
    (folder / "data.bin").write_bytes(b"x" * BYTES)
    return {}


def kept(parent: Path) -> set[str]:
    return {path.name[0] for path in parent.iterdir()}


def fill(parent: Path, keys: str) -> None:
    """Entries that nobody reads any more, used in this order."""
    for age, key in enumerate(keys):
        _, use = bounded_entry(parent, key * 64, write, bound_bytes=1 << 30)
        assert use is not None
        use.release()
        os.utime(parent / (key * 64), (1000 + age, 1000 + age))


def test_the_least_recently_used_make_way(tmp_path: Path) -> None:
    fill(tmp_path, "abcd")
    bounded_entry(tmp_path, "a" * 64, write, bound_bytes=1 << 30)  # used again
    bounded_entry(tmp_path, "e" * 64, write, bound_bytes=int(3.5 * BYTES))
    assert kept(tmp_path) == {"a", "d", "e"}


def test_what_is_read_stays_for_as_long_as_it_is_read(tmp_path: Path) -> None:
    fill(tmp_path, "bc")
    entry, use = bounded_entry(tmp_path, "a" * 64, write, bound_bytes=1 << 30)
    os.utime(entry.folder, (1, 1))
    make_room_for(tmp_path, "", 0)
    assert kept(tmp_path) == {"a"}
    del use
    make_room_for(tmp_path, "", 0)
    assert kept(tmp_path) == set()


def test_what_another_process_reads_stays_until_it_ends(tmp_path: Path) -> None:
    fill(tmp_path, "ab")
    reading = (
        "import sys; from pathlib import Path; from frostline.storage import bounded_entry\n"
        "held = bounded_entry(Path(sys.argv[1]), 'a' * 64, lambda folder: {}, bound_bytes=1 << 30)\n"
        "print('reads', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", reading, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reads\n"
        make_room_for(tmp_path, "", 0)
        assert kept(tmp_path) == {"a"}
        process.kill()
    make_room_for(tmp_path, "", 0)
    assert kept(tmp_path) == set()


def test_the_entry_that_is_asked_for_stays_though_it_is_larger_than_the_bound(tmp_path: Path) -> None:
    entry, _ = bounded_entry(tmp_path, "a" * 64, write, bound_bytes=10)
    assert (entry.folder / "data.bin").stat().st_size == BYTES


def test_nothing_but_entries_is_removed(tmp_path: Path) -> None:
    parent, elsewhere = tmp_path / "parent", tmp_path / "elsewhere"
    fill(parent, "a")
    elsewhere.mkdir()
    (elsewhere / "facts.json").write_text("{}")
    (parent / ("b" * 64)).symlink_to(elsewhere)
    (parent / "notes").mkdir()
    (parent / ("c" * 64)).write_text("a file")
    make_room_for(parent, "", 0)
    assert {path.name[:2] for path in parent.iterdir()} == {"bb", "no", "cc"}
    assert (elsewhere / "facts.json").exists()


def test_what_a_killed_process_left_of_an_entry_goes_too(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    (tmp_path / ("a" * 64) / "facts.json").unlink()
    make_room_for(tmp_path, "", 0)
    assert kept(tmp_path) == set()


def test_without_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(handle: int, kind: int) -> None:
        raise OSError

    fill(tmp_path, "a")
    monkeypatch.setattr("fcntl.flock", no_locks)
    entry, use = bounded_entry(tmp_path, "b" * 64, write, bound_bytes=0)
    assert use is None
    assert entry.folder.exists()
    assert kept(tmp_path) == {"a", "b"}


def test_the_bound_is_a_tenth_of_what_would_be_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "ab")
    held = sum(file.stat().st_size for file in tmp_path.glob("*/*"))
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 5_000})())
    assert default_bound(tmp_path) == (5_000 + held) // SHARE_OF_DISK
