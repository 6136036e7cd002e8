"""Reading ahead and writing behind change no row: what a thread is at is found, waited for, or computed anew."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from frostline.engine import prefix_store
from frostline.engine.prefix_file import HEADER_BYTES, RowFile
from tests.builders.prefix_rows import (
    DEPTH,
    PAYLOAD_BYTES,
    RECORD_BYTES,
    fill,
    flip_bit,
    open_store,
    row,
    rows_file,
    same_bits,
    window,
)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The thread of every read of a file of rows."""
    names: list[str] = []
    read = RowFile.read

    def noted(self: RowFile, wanted: bytes) -> Tensor | None:
        names.append(threading.current_thread().name)
        return read(self, wanted)

    monkeypatch.setattr(RowFile, "read", noted)
    return names


def test_announced_rows_are_read_once_by_the_reader_for_all_who_ask(tmp_path: Path, reads: list[str]) -> None:
    fill(tmp_path)
    with open_store(tmp_path) as store:
        store.bring([window(0), window(1), window(1)], [DEPTH, DEPTH + 4])
        for _ in range(2):  # two arms
            assert all(same_bits(store.find(window(number), DEPTH), row(number)) for number in range(2))
        store.bring([window(2)], [DEPTH])
        assert same_bits(store.find(window(1), DEPTH), row(1)), "the step before still asks"
        assert same_bits(store.find(window(2), DEPTH), row(2))
    assert len(reads) == 3
    assert all(name.startswith("prefix reader") for name in reads)


def test_rows_announced_two_steps_ago_are_let_go_of(tmp_path: Path, reads: list[str]) -> None:
    fill(tmp_path)
    with open_store(tmp_path) as store:
        for number in range(3):
            store.bring([window(number)], [DEPTH])
        reads_ahead = len(reads)
        assert same_bits(store.find(window(0), DEPTH), row(0))
    assert reads_ahead <= 3
    assert "MainThread" in reads


def test_what_is_in_memory_or_nowhere_is_not_read(tmp_path: Path, reads: list[str]) -> None:
    fill(tmp_path, rows=1)
    with open_store(tmp_path, memory_bytes=PAYLOAD_BYTES) as store:
        assert store.find(window(0), DEPTH) is not None
        store.bring([window(0), window(7)], [DEPTH])
        assert store.find(window(0), DEPTH) is not None
        assert store.find(window(7), DEPTH) is None
    assert len(reads) == 1


def test_a_damaged_row_that_was_announced_is_none_and_can_be_put_anew(tmp_path: Path) -> None:
    fill(tmp_path)
    flip_bit(rows_file(tmp_path), RECORD_BYTES + HEADER_BYTES)
    with open_store(tmp_path) as store:
        store.bring([window(1)], [DEPTH])
        assert store.deepest(window(1), DEPTH) is None
        store.put(window(1), DEPTH, row(1))
        store.flush()
        assert same_bits(store.find(window(1), DEPTH), row(1))
        assert store.statistics().damaged == 1


def test_a_row_is_found_before_it_is_written_and_closing_waits_for_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write, append = threading.Event(), RowFile.append

    def held_up(self: RowFile, wanted: bytes, given: Tensor) -> None:
        may_write.wait(timeout=30)
        append(self, wanted, given)

    monkeypatch.setattr(RowFile, "append", held_up)
    with open_store(tmp_path) as store:
        for number in range(3):
            store.put(window(number), DEPTH, row(number))
        assert rows_file(tmp_path).stat().st_size == 0
        assert all(same_bits(store.find(window(number), DEPTH), row(number)) for number in range(3))
        threading.Timer(0.05, may_write.set).start()
    with open_store(tmp_path) as store:
        assert all(same_bits(store.find(window(number), DEPTH), row(number)) for number in range(3))


def test_rows_that_wait_to_be_written_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_store, "_WAITING_BYTES", 2 * RECORD_BYTES)
    may_write, append = threading.Event(), RowFile.append

    def held_up(self: RowFile, wanted: bytes, given: Tensor) -> None:
        may_write.wait(timeout=30)
        append(self, wanted, given)

    monkeypatch.setattr(RowFile, "append", held_up)
    with open_store(tmp_path) as store:
        store.put(window(0), DEPTH, row(0))
        store.put(window(1), DEPTH, row(1))
        timer = threading.Timer(0.05, may_write.set)
        timer.start()
        store.put(window(2), DEPTH, row(2))
        assert may_write.is_set(), "the third row waits until the first is written"
        timer.join()


def test_a_record_is_hashed_once_and_then_checked_by_its_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    hashed: list[int] = []
    digest = RowFile._digest

    def counted(self: RowFile, *parts: bytes | memoryview) -> bytes:
        hashed.append(1)
        return digest(self, *parts)

    monkeypatch.setattr(RowFile, "_digest", counted)
    with open_store(tmp_path) as store:
        for _ in range(3):
            assert same_bits(store.find(window(1), DEPTH), row(1))
        assert len(hashed) == 1
        flip_bit(rows_file(tmp_path), RECORD_BYTES + HEADER_BYTES + 5)
        assert store.find(window(1), DEPTH) is None
        store.put(window(5), DEPTH, torch.zeros_like(row(5)))
        store.flush()
        assert store.find(window(5), DEPTH) is not None
        assert len(hashed) == 2, "what this process wrote it need not hash again"
