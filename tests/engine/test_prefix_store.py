"""Rows come back bit for bit or not at all, and nothing that goes wrong with the disk stops a run."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.engine.prefix_file import DTYPES, HEADER_BYTES
from frostline.engine.prefix_store import (
    PrefixIdentity,
    default_disk_bytes,
    default_memory_bytes,
    window_key,
)
from tests.builders.prefix_rows import (
    DEPTH,
    MODEL,
    PAYLOAD_BYTES,
    PLENTY,
    RECORD_BYTES,
    fill,
    open_store,
    row,
    rows_file,
    same_bits,
    window,
)

# What a window is


def test_a_window_is_known_by_its_tokens_and_its_mask() -> None:
    tokens, ones = np.arange(8, dtype=np.int64), np.ones(8, dtype=np.int64)
    padded = np.array([1] * 7 + [0], dtype=np.int64)
    keys = [
        window_key(tokens, None),
        window_key(tokens + 1, None),
        window_key(tokens[:7], None),
        window_key(tokens, ones),
        window_key(tokens, padded),
        window_key(np.concatenate([tokens, ones]), None),
    ]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {32}


def test_a_window_cut_out_of_a_batch_has_the_key_of_its_copy() -> None:
    batch = np.arange(32, dtype=np.int64).reshape(8, 4).T
    assert window_key(batch[1], None) == window_key(batch[1].copy(), None)


def test_an_identity_depends_on_each_of_its_parts_and_on_where_they_end() -> None:
    identities = [PrefixIdentity("ab", "c"), PrefixIdentity("a", "bc"), PrefixIdentity("ab", "d")]
    assert len({identity.folder_name for identity in identities}) == 3


# In memory


def test_a_row_in_memory_is_found_at_its_depth_alone() -> None:
    store = open_store(None, memory_bytes=PLENTY)
    store.put(window(1), DEPTH, row(1))
    assert same_bits(store.find(window(1), DEPTH), row(1))
    assert store.find(window(1), DEPTH + 1) is None
    assert store.find(window(2), DEPTH) is None


def test_what_is_kept_is_a_copy() -> None:
    store = open_store(None, memory_bytes=PLENTY)
    given_row = row(1)
    store.put(window(1), DEPTH, given_row)
    given_row.zero_()
    assert same_bits(store.find(window(1), DEPTH), row(1))


def test_a_row_that_is_a_view_of_a_batch_is_kept_without_the_batch() -> None:
    store = open_store(None, memory_bytes=PLENTY)
    batch = torch.randn(6, 100, 4)
    store.put(window(1), DEPTH, batch[:, 7].T)
    found = store.find(window(1), DEPTH)
    assert found is not None
    assert torch.equal(found, batch[:, 7].T)
    assert found.untyped_storage().nbytes() == found.nbytes


def test_memory_is_bounded_and_the_rows_that_came_first_stay() -> None:
    store = open_store(None, memory_bytes=2 * PAYLOAD_BYTES + 1)
    for number in range(4):
        store.put(window(number), DEPTH, row(number))
    assert [store.find(window(number), DEPTH) is not None for number in range(4)] == [True, True, False, False]
    statistics = store.statistics()
    assert statistics.memory_bytes == 2 * PAYLOAD_BYTES
    assert statistics.full
    assert statistics.reason == (
        "The prefix cache is full at 193 B: other rows are computed each time. "
        "Raise training.prefix_cache.memory_mb to keep more."
    )


def test_rows_of_other_windows_can_be_dropped_and_make_room() -> None:
    store = open_store(None, memory_bytes=2 * PAYLOAD_BYTES)
    store.put(window(1), DEPTH, row(1))
    store.put(window(2), DEPTH, row(2))
    store.keep_only([window(2), window(3)])
    assert store.find(window(1), DEPTH) is None
    store.put(window(3), DEPTH, row(3))
    assert same_bits(store.find(window(3), DEPTH), row(3))
    assert store.statistics().memory_bytes == 2 * PAYLOAD_BYTES


def test_without_disk_bytes_no_folder_is_made(tmp_path: Path) -> None:
    with open_store(tmp_path / "prefixes", memory_bytes=PLENTY, disk_bytes=0) as store:
        store.put(window(1), DEPTH, row(1))
        assert not store.statistics().full
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("on_disk", [False, True])
def test_the_deepest_row_that_is_not_too_deep_is_handed_out(tmp_path: Path, on_disk: bool) -> None:
    with open_store(tmp_path if on_disk else None, memory_bytes=0 if on_disk else PLENTY) as store:
        for depth in (2, 5, 9):
            store.put(window(1), depth, row(depth))
        store.put(window(2), 7, row(7))
        for asked, expected in [(2, 2), (4, 2), (5, 5), (8, 5), (9, 9), (30, 9)]:
            found = store.deepest(window(1), asked)
            assert found is not None
            assert found[0] == expected
            assert same_bits(found[1], row(expected))
        assert store.deepest(window(1), 1) is None


# On disk


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_outlive_the_store_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    with open_store(tmp_path) as store:
        for number in range(3):
            store.put(window(number), DEPTH, row(number, dtype))
    with open_store(tmp_path) as store:
        assert all(same_bits(store.find(window(number), DEPTH), row(number, dtype)) for number in range(3))
        assert store.find(window(3), DEPTH) is None
        assert (store.statistics().found_on_disk, store.statistics().damaged) == (3, 0)


@settings(max_examples=40)
@given(
    sequence=st.integers(1, 9),
    hidden=st.integers(1, 9),
    dtype=st.sampled_from(sorted(DTYPES)),
    depth=st.integers(1, 99),
    seed=st.integers(0, 2**31),
)
def test_any_bits_of_any_shape_come_back(sequence: int, hidden: int, dtype: str, depth: int, seed: int) -> None:
    # Random bits, so that NaN with their payloads, infinities and negative zero are among them.
    size = sequence * hidden * DTYPES[dtype].itemsize
    bits = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    given_row = torch.from_numpy(bits).view(DTYPES[dtype]).view(sequence, hidden)
    with tempfile.TemporaryDirectory() as folder:
        with open_store(Path(folder)) as store:
            store.put(window(seed), depth, given_row)
        with open_store(Path(folder)) as store:
            assert same_bits(store.find(window(seed), depth), given_row)


def test_windows_of_different_lengths_and_precisions_live_side_by_side(tmp_path: Path) -> None:
    shorter, coarser = row(1)[:2].contiguous(), row(2, torch.bfloat16)
    with open_store(tmp_path) as store:
        store.put(window(0), DEPTH, row(0))
        store.put(window(1), DEPTH, shorter)
        store.put(window(2), DEPTH, coarser)
    with open_store(tmp_path) as store:
        assert same_bits(store.find(window(0), DEPTH), row(0))
        assert same_bits(store.find(window(1), DEPTH), shorter)
        assert same_bits(store.find(window(2), DEPTH), coarser)


def test_a_row_read_from_disk_is_held_in_memory_while_there_is_room(tmp_path: Path) -> None:
    fill(tmp_path, rows=2)
    with open_store(tmp_path, memory_bytes=PAYLOAD_BYTES) as store:
        for _ in range(3):
            assert same_bits(store.find(window(0), DEPTH), row(0))
            assert same_bits(store.find(window(1), DEPTH), row(1))
        statistics = store.statistics()
    assert (statistics.found_in_memory, statistics.found_on_disk) == (2, 4)
    assert (statistics.memory_bytes, statistics.disk_bytes) == (PAYLOAD_BYTES, 2 * RECORD_BYTES)


def test_putting_what_is_there_does_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    with open_store(tmp_path) as store:
        store.put(window(1), DEPTH, row(99))
        assert same_bits(store.find(window(1), DEPTH), row(1))
        assert store.statistics().computed == 0
    assert rows_file(tmp_path).stat().st_size == 3 * RECORD_BYTES


def test_a_closed_store_finds_and_keeps_nothing_but_its_statistics(tmp_path: Path) -> None:
    store = open_store(tmp_path, memory_bytes=PLENTY)
    store.put(window(1), DEPTH, row(1))
    store.close()
    store.close()
    store.put(window(2), DEPTH, row(2))
    assert store.find(window(1), DEPTH) is None
    assert store.find(window(2), DEPTH) is None
    assert store.statistics().computed == 1
    assert rows_file(tmp_path).stat().st_size == RECORD_BYTES


# One writer


def test_a_second_store_reads_what_is_there_and_keeps_new_rows_in_memory(tmp_path: Path) -> None:
    with open_store(tmp_path) as first:
        first.put(window(0), DEPTH, row(0))
        first.flush()
        with open_store(tmp_path, memory_bytes=PLENTY) as second:
            assert same_bits(second.find(window(0), DEPTH), row(0))
            second.put(window(1), DEPTH, row(1))
            assert same_bits(second.find(window(1), DEPTH), row(1))
            statistics = second.statistics()
            assert statistics.disk_bytes == RECORD_BYTES
            assert not statistics.full
            assert statistics.reason == (
                "Another run is writing prefixes of this model: new ones are kept in memory only."
            )
        first.put(window(2), DEPTH, row(2))
    with open_store(tmp_path) as third:
        assert third.find(window(1), DEPTH) is None
        assert same_bits(third.find(window(2), DEPTH), row(2))
        third.put(window(1), DEPTH, row(1))
        assert third.statistics().disk_bytes == 3 * RECORD_BYTES
        assert third.statistics().reason == ""


def test_a_reader_does_not_cut_off_what_the_writer_is_at(tmp_path: Path) -> None:
    with open_store(tmp_path) as writer:
        writer.put(window(0), DEPTH, row(0))
        writer.flush()
        with rows_file(tmp_path).open("ab") as half:
            half.write(b"half a record")
        with open_store(tmp_path) as reader:
            assert same_bits(reader.find(window(0), DEPTH), row(0))
        assert rows_file(tmp_path).read_bytes().endswith(b"half a record")


# Disks that fail


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with open_store(tmp_path / "file" / "prefixes", memory_bytes=PLENTY) as store:
        store.put(window(1), DEPTH, row(1))
        assert same_bits(store.find(window(1), DEPTH), row(1))
        assert store.statistics().full
        assert store.statistics().reason == (
            f"The prefix cache in {tmp_path / 'file' / 'prefixes'} cannot be written (Not a directory): "
            "new prefixes are kept in memory only."
        )


def test_a_disk_that_is_read_only_is_still_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    really_open: Callable[..., int] = os.open

    def open_to_read(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return really_open(path, flags, mode)

    monkeypatch.setattr(os, "open", open_to_read)
    with open_store(tmp_path, memory_bytes=PLENTY) as store:
        assert all(same_bits(store.find(window(number), DEPTH), row(number)) for number in range(3))
        store.put(window(3), DEPTH, row(3))
        assert same_bits(store.find(window(3), DEPTH), row(3))
        assert store.statistics().full
        assert "(Read-only file system)" in store.statistics().reason
    assert rows_file(tmp_path).stat().st_size == 3 * RECORD_BYTES


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_to_write_is_still_read(tmp_path: Path) -> None:
    fill(tmp_path)
    own = tmp_path / MODEL.folder_name
    for path in own.iterdir():
        path.chmod(0o444)
    own.chmod(0o555)
    try:
        with open_store(tmp_path, memory_bytes=PLENTY) as store:
            assert same_bits(store.find(window(1), DEPTH), row(1))
            assert store.statistics().full
    finally:
        own.chmod(0o755)


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Writing past `size` fails half-way, as on a full disk."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("beyond", [0, 10, HEADER_BYTES + 10, RECORD_BYTES - 1])
def test_a_disk_that_fills_up_in_the_middle_of_a_record_keeps_the_ones_before(tmp_path: Path, beyond: int) -> None:
    with open_store(tmp_path, memory_bytes=PLENTY) as store:
        with files_limited_to(2 * RECORD_BYTES + beyond):
            for number in range(4):
                store.put(window(number), DEPTH, row(number))
                store.flush()  # the writer is behind
        assert all(same_bits(store.find(window(number), DEPTH), row(number)) for number in range(4))
        assert store.statistics().full
        assert "cannot be written (File too large)" in store.statistics().reason
        store.put(window(9), DEPTH, row(9))
    assert rows_file(tmp_path).stat().st_size == 2 * RECORD_BYTES
    with open_store(tmp_path) as store:
        assert [store.find(window(number), DEPTH) is not None for number in (0, 1, 2, 3, 9)] == [True] * 2 + [False] * 3
        assert store.statistics().damaged == 0


def test_the_last_of_the_disk_is_left_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    with open_store(tmp_path, memory_bytes=PLENTY) as store:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=50_000_000))
        store.put(window(1), DEPTH, row(1))
        assert same_bits(store.find(window(1), DEPTH), row(1))
        assert store.statistics().disk_bytes == 0
        assert store.statistics().reason == (
            f"The disk of {tmp_path} is nearly full: new prefixes are kept in memory only."
        )
        assert default_disk_bytes(tmp_path / "not" / "there") == 5_000_000


def test_the_default_sizes_are_shares_of_what_is_free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import psutil

    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=8_000_000_000))
    assert default_memory_bytes() == 2_000_000_000
    assert 0 < default_disk_bytes(tmp_path) < shutil.disk_usage(tmp_path).total
