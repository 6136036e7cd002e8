"""Rows that were damaged or half written are lost alone, and are never taken for others."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from frostline.engine.prefix_file import HEADER_BYTES
from tests.builders.prefix_rows import (
    DEPTH,
    MODEL,
    OTHER,
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

REGIONS = {
    "magic": 0,
    "window key": 8,
    "type": 40,
    "sequence": 48,
    "hidden": 52,
    "check of the header": HEADER_BYTES - 1,
    "first byte of the row": HEADER_BYTES,
    "last byte of the row": HEADER_BYTES + PAYLOAD_BYTES - 1,
    "first byte of the digest": HEADER_BYTES + PAYLOAD_BYTES,
    "last byte of the digest": RECORD_BYTES - 1,
}


@pytest.mark.parametrize("record", [0, 1, 2])
@pytest.mark.parametrize("region", REGIONS)
def test_one_flipped_bit_loses_its_row_alone_and_the_row_can_be_written_anew(
    tmp_path: Path, region: str, record: int
) -> None:
    fill(tmp_path)
    flip_bit(rows_file(tmp_path), record * RECORD_BYTES + REGIONS[region])
    with open_store(tmp_path) as store:
        found = [store.find(window(number), DEPTH) for number in range(3)]
        assert [value is None for value in found] == [number == record for number in range(3)]
        assert store.statistics().damaged == 1
        store.put(window(record), DEPTH, row(record))
        assert same_bits(store.find(window(record), DEPTH), row(record))
    with open_store(tmp_path) as store:
        assert all(same_bits(store.find(window(number), DEPTH), row(number)) for number in range(3))


@pytest.mark.parametrize("offset", REGIONS.values(), ids=REGIONS)
def test_damage_is_noticed_while_the_store_is_open(tmp_path: Path, offset: int) -> None:
    fill(tmp_path)
    with open_store(tmp_path) as store:
        flip_bit(rows_file(tmp_path), RECORD_BYTES + offset)
        assert store.find(window(1), DEPTH) is None
        assert store.deepest(window(1), DEPTH) is None
        assert same_bits(store.find(window(2), DEPTH), row(2))
        assert store.statistics().damaged == 1


def test_opening_reads_no_rows(tmp_path: Path) -> None:
    fill(tmp_path)
    for record in range(3):
        flip_bit(rows_file(tmp_path), record * RECORD_BYTES + HEADER_BYTES)
    with open_store(tmp_path) as store:
        assert store.statistics().damaged == 0


@pytest.mark.parametrize("left", [1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 5, RECORD_BYTES - 1])
def test_a_half_written_last_record_is_overwritten(tmp_path: Path, left: int) -> None:
    fill(tmp_path)
    os.truncate(rows_file(tmp_path), 2 * RECORD_BYTES + left)
    with open_store(tmp_path) as store:
        assert store.find(window(2), DEPTH) is None
        assert store.statistics().damaged == 1
        store.put(window(2), DEPTH, row(2))
    assert rows_file(tmp_path).stat().st_size == 3 * RECORD_BYTES
    with open_store(tmp_path) as store:
        assert all(same_bits(store.find(window(number), DEPTH), row(number)) for number in range(3))
        assert store.statistics().damaged == 0


@pytest.mark.parametrize("size", [0, HEADER_BYTES, RECORD_BYTES + HEADER_BYTES + 5])
def test_a_file_cut_short_under_an_open_store_loses_rows_only(tmp_path: Path, size: int) -> None:
    fill(tmp_path)
    with open_store(tmp_path) as store:
        os.truncate(rows_file(tmp_path), size)
        assert store.find(window(2), DEPTH) is None
        assert store.find(window(1), DEPTH) is None
        assert store.statistics().damaged == 2
        store.put(window(2), DEPTH, row(2))
        assert same_bits(store.find(window(2), DEPTH), row(2))


def test_a_hole_where_a_record_was_not_written_out_is_skipped(tmp_path: Path) -> None:
    fill(tmp_path)
    content = bytearray(rows_file(tmp_path).read_bytes())
    content[RECORD_BYTES : 2 * RECORD_BYTES] = bytes(RECORD_BYTES)
    rows_file(tmp_path).write_bytes(content)
    with open_store(tmp_path) as store:
        found = [store.find(window(number), DEPTH) is not None for number in range(3)]
        assert found == [True, False, True]


def test_rows_of_another_model_are_not_taken_for_its_own(tmp_path: Path) -> None:
    fill(tmp_path, OTHER)
    own = tmp_path / MODEL.folder_name
    own.mkdir()
    shutil.copy(rows_file(tmp_path, OTHER), own)
    with open_store(tmp_path) as store:
        assert all(store.find(window(number), DEPTH) is None for number in range(3))
        assert store.statistics().damaged == 3
        store.put(window(0), DEPTH, row(50))
    with open_store(tmp_path) as store:
        assert same_bits(store.find(window(0), DEPTH), row(50))
        assert store.statistics().damaged == 0


@pytest.mark.parametrize("name", ["depth-4.4x6.float32.rows", "depth-3.6x4.float32.rows", "depth-3.4x12.bfloat16.rows"])
def test_a_renamed_file_is_foreign(tmp_path: Path, name: str) -> None:
    fill(tmp_path)
    rows_file(tmp_path).rename(tmp_path / MODEL.folder_name / name)
    with open_store(tmp_path) as store:
        assert [store.deepest(window(number), 99) for number in range(3)] == [None] * 3
        assert store.statistics().damaged == 3


def test_files_of_others_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    fill(tmp_path)
    notes = tmp_path / MODEL.folder_name / "notes.rows"
    notes.write_text("mine")
    with open_store(tmp_path) as store:
        assert same_bits(store.find(window(1), DEPTH), row(1))
    assert notes.read_text() == "mine"
