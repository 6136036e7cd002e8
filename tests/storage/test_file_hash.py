"""A file is hashed once in a process, and anew as soon as anybody has touched it."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from frostline.storage import file_hash
from frostline.storage.file_hash import file_sha256, known_hashes, remember_hashes


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Hashes that were computed, in order; files count as settled at once."""
    computed: list[str] = []
    original = hashlib.file_digest

    def count(file: object, kind: str) -> object:
        found = original(file, kind)  # type: ignore[arg-type]  # what is handed over is what was given
        computed.append(found.hexdigest())
        return found

    monkeypatch.setattr(hashlib, "file_digest", count)
    monkeypatch.setattr(file_hash, "_known", {})
    monkeypatch.setattr(file_hash, "SETTLED_SECONDS", -1)
    return computed


def test_a_file_that_lies_there_untouched_is_read_once(tmp_path: Path, read: list[str]) -> None:
    file = tmp_path / "text"
    file.write_bytes(b"ice")
    expected = hashlib.sha256(b"ice").hexdigest()
    assert [file_sha256(file) for _ in range(3)] == [expected] * 3
    assert read == [expected]


def test_another_content_of_the_same_size_and_the_same_set_time_is_found(tmp_path: Path, read: list[str]) -> None:
    file = tmp_path / "text"
    file.write_bytes(b"ice")
    os.utime(file, (1, 1))
    before = file_sha256(file)
    time.sleep(0.02)  # the clock of a file system ticks
    file.write_bytes(b"fog")
    os.utime(file, (1, 1))
    assert file_sha256(file) == hashlib.sha256(b"fog").hexdigest() != before


def test_a_file_that_was_changed_just_now_is_not_remembered(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_hash, "SETTLED_SECONDS", 60)
    file = tmp_path / "text"
    file.write_bytes(b"ice")
    assert file_sha256(file) == file_sha256(file)
    assert len(read) == 2


def test_another_process_takes_over_what_is_known(tmp_path: Path, read: list[str]) -> None:
    file = tmp_path / "text"
    file.write_bytes(b"ice")
    found, known = file_sha256(file), known_hashes()
    file_hash._known.clear()
    remember_hashes(known)
    assert file_sha256(file) == found
    assert len(read) == 1
