"""Is an entry of the cache whole or not there, whatever happens to it?"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from frostline.errors import CacheError, CorpusError
from frostline.storage import cache_entry
from frostline.storage.cache_entry import cached_entry, open_entry
from frostline.storage.sealed import Facts, seal


class Writer:
    """Writes one file and counts how often it was asked to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> Facts:
        self.calls += 1
        (folder / "data.bin").write_bytes(b"frost" * 100)
        return {"number": 7, "name": "seven"}


def test_what_was_written_is_found_again(tmp_path: Path) -> None:
    writer = Writer()
    written = cached_entry(tmp_path / "parent", "key", writer)
    found = cached_entry(tmp_path / "parent", "key", writer)
    assert writer.calls == 1
    assert found == written
    assert found.facts == {"number": 7, "name": "seven"}
    assert sorted(path.name for path in (tmp_path / "parent").iterdir()) == ["key"]


def damage_bytes(folder: Path) -> None:
    (folder / "data.bin").write_bytes(b"frosT" * 100)


def damage_length(folder: Path) -> None:
    os.truncate(folder / "data.bin", 3)


def damage_facts(folder: Path) -> None:
    (folder / "facts.json").write_text('{"version": 1')


def damage_version(folder: Path) -> None:
    facts = folder / "facts.json"
    facts.write_text(facts.read_text().replace('"version": 2', '"version": 999'))


def damage_key(folder: Path) -> None:
    facts = folder / "facts.json"
    facts.write_text(facts.read_text().replace('"key"', '"kex"', 1).replace('"key": "key"', '"key": "other"'))


def damage_by_a_missing_file(folder: Path) -> None:
    (folder / "data.bin").unlink()


def damage_by_a_foreign_file(folder: Path) -> None:
    (folder / "other.bin").write_bytes(b"")


DAMAGES = [
    damage_bytes,
    damage_length,
    damage_facts,
    damage_version,
    damage_key,
    damage_by_a_missing_file,
    damage_by_a_foreign_file,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_entry_is_built_again(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    writer = Writer()
    entry = cached_entry(tmp_path, "key", writer)
    damage(entry.folder)
    assert open_entry(tmp_path, "key") is None
    again = cached_entry(tmp_path, "key", writer)
    assert writer.calls == 2
    assert again == entry
    assert (again.folder / "data.bin").read_bytes() == b"frost" * 100
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_file_in_the_place_of_an_entry_gives_way(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("not a folder")
    assert cached_entry(tmp_path, "key", Writer()).facts["number"] == 7


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(folder: Path) -> Facts:
        (folder / "half.bin").write_bytes(b"half")
        raise CorpusError("the source is bad.")

    with pytest.raises(CorpusError, match="the source is bad"):
        cached_entry(tmp_path, "key", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing_behind(tmp_path: Path) -> None:
    def fill(folder: Path) -> Facts:
        (folder / "half.bin").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CacheError, match="no space left in the cache folder"):
        cached_entry(tmp_path, "key", fill)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_is_no_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(CacheError, match="cannot be used: not a directory"):
        cached_entry(tmp_path / "cache" / "corpora", "key", Writer())


def test_an_entry_that_another_process_finished_first_is_kept(tmp_path: Path) -> None:
    quick = Writer()

    def slow(folder: Path) -> Facts:
        cached_entry(tmp_path, "key", quick)
        return Writer()(folder)

    assert cached_entry(tmp_path, "key", slow).facts["number"] == 7
    assert quick.calls == 1
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_what_a_killed_process_left_is_swept_away(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from frostline.storage.cache_entry import cached_entry\n"
        "def die(folder):\n"
        "    (folder / 'half.bin').write_bytes(b'half'); os._exit(9)\n"
        "cached_entry(Path(sys.argv[1]), 'key', die)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == 9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".writing-")
    cached_entry(tmp_path, "key", Writer())
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_an_entry_that_another_process_removed_before_it_was_opened_is_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own entries made that one the oldest, which may be the newest by another machine's clock."""
    writer = Writer()

    def removed_at_once(parent: Path, key: str, write: Callable[[Path], Facts]) -> None:
        seal(parent, key, write)
        monkeypatch.setattr(cache_entry, "seal", seal)
        shutil.rmtree(parent / key)

    monkeypatch.setattr(cache_entry, "seal", removed_at_once)
    assert cached_entry(tmp_path, "key", writer).facts["number"] == 7
    assert writer.calls == 2
