"""A folder of rows keeps its bound, by what was used last, and removes nothing that others made or are at."""

from __future__ import annotations

import os
from pathlib import Path

from frostline.engine.prefix_store import (
    PrefixIdentity,
)
from tests.builders.prefix_rows import (
    DEPTH,
    MODEL,
    OTHER,
    PLENTY,
    RECORD_BYTES,
    THIRD,
    fill,
    open_store,
    row,
    rows_file,
    same_bits,
    window,
)


def test_the_disk_bound_holds_and_rows_go_on_in_memory(tmp_path: Path) -> None:
    with open_store(tmp_path, memory_bytes=PLENTY, disk_bytes=3 * RECORD_BYTES + 5) as store:
        for number in range(6):
            store.put(window(number), DEPTH, row(number))
        assert all(store.find(window(number), DEPTH) is not None for number in range(6))
        statistics = store.statistics()
    assert statistics.disk_bytes == rows_file(tmp_path).stat().st_size == 3 * RECORD_BYTES
    assert statistics.full
    assert statistics.reason == (
        f"The prefix cache in {tmp_path} has reached its bound of 581 B: new prefixes are kept in memory only. "
        "Raise training.prefix_cache.disk_mb to keep more."
    )


def used_at(folder: Path, identity: PrefixIdentity, seconds: int) -> None:
    os.utime(folder / identity.folder_name, (seconds, seconds))


def test_the_least_recently_used_rows_go_first_when_the_folder_is_above_its_bound(tmp_path: Path) -> None:
    fill(tmp_path, OTHER)
    fill(tmp_path, THIRD)
    used_at(tmp_path, OTHER, 2_000)
    used_at(tmp_path, THIRD, 1_000)
    open_store(tmp_path, disk_bytes=4 * RECORD_BYTES).close()
    assert not (tmp_path / THIRD.folder_name).exists()
    assert rows_file(tmp_path, OTHER).stat().st_size == 3 * RECORD_BYTES


def test_opening_a_store_counts_as_use(tmp_path: Path) -> None:
    fill(tmp_path, OTHER)
    fill(tmp_path, THIRD)
    used_at(tmp_path, OTHER, 1_000)
    used_at(tmp_path, THIRD, 2_000)
    open_store(tmp_path, OTHER).close()
    open_store(tmp_path, disk_bytes=4 * RECORD_BYTES).close()
    assert not (tmp_path / THIRD.folder_name).exists()
    assert (tmp_path / OTHER.folder_name).exists()


def test_rows_of_other_models_make_way_for_new_ones(tmp_path: Path) -> None:
    fill(tmp_path, OTHER)
    with open_store(tmp_path, disk_bytes=5 * RECORD_BYTES) as store:
        assert (tmp_path / OTHER.folder_name).exists()
        for number in range(5):
            store.put(window(number), DEPTH, row(number))
        assert not store.statistics().full
        assert store.statistics().disk_bytes == 5 * RECORD_BYTES
    assert not (tmp_path / OTHER.folder_name).exists()


def test_a_store_never_removes_its_own_rows(tmp_path: Path) -> None:
    fill(tmp_path)
    with open_store(tmp_path, disk_bytes=RECORD_BYTES) as store:
        assert all(same_bits(store.find(window(number), DEPTH), row(number)) for number in range(3))
        store.put(window(3), DEPTH, row(3))
        assert store.statistics().full
        assert store.statistics().disk_bytes == 3 * RECORD_BYTES


def test_rows_that_another_store_is_at_are_never_removed(tmp_path: Path) -> None:
    fill(tmp_path, OTHER)
    with open_store(tmp_path, OTHER) as other, open_store(tmp_path, disk_bytes=4 * RECORD_BYTES) as store:
        for number in range(3):
            store.put(window(number), DEPTH, row(number))
        assert store.statistics().disk_bytes == RECORD_BYTES
        assert store.statistics().full
        assert all(same_bits(other.find(window(number), DEPTH), row(number)) for number in range(3))


def test_removing_follows_no_links_and_takes_only_what_the_store_made(tmp_path: Path) -> None:
    cache, elsewhere = tmp_path / "prefixes", tmp_path / "elsewhere"
    fill(cache, OTHER)
    fill(elsewhere, THIRD)
    (cache / THIRD.folder_name).symlink_to(elsewhere / THIRD.folder_name)
    outside = tmp_path / "outside.rows"
    outside.write_bytes(bytes(1000))
    (cache / OTHER.folder_name / "depth-1.1x1.float32.rows").symlink_to(outside)
    (cache / "holiday").mkdir()
    (cache / "holiday" / "depth-1.1x1.float32.rows").write_bytes(bytes(1000))
    open_store(cache, disk_bytes=1).close()
    assert not (cache / OTHER.folder_name).exists()
    assert outside.stat().st_size == 1000
    assert (cache / "holiday" / "depth-1.1x1.float32.rows").exists()
    assert rows_file(elsewhere, THIRD).stat().st_size == 3 * RECORD_BYTES


def test_rows_are_not_written_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    own = tmp_path / "prefixes" / MODEL.folder_name
    own.mkdir(parents=True)
    (own / "depth-3.4x6.float32.rows").symlink_to(outside)
    with open_store(tmp_path / "prefixes", memory_bytes=PLENTY) as store:
        store.put(window(1), DEPTH, row(1))
        assert same_bits(store.find(window(1), DEPTH), row(1))
        assert store.statistics().full
    assert outside.read_bytes() == b"mine"


def test_room_is_what_can_be_held_at_once(tmp_path: Path) -> None:
    assert open_store(None, memory_bytes=1000).room_bytes == 1000
    fill(tmp_path, OTHER)
    with open_store(tmp_path, memory_bytes=1000, disk_bytes=5000) as store:
        assert store.room_bytes == 5000
        with open_store(tmp_path, OTHER, disk_bytes=5000):
            assert store.room_bytes == 5000 - 3 * RECORD_BYTES
        with open_store(tmp_path, memory_bytes=1000, disk_bytes=5000) as reader:
            assert reader.room_bytes == 1000
