"""Where are the outputs of the frozen bottom layers kept? In memory while there is room, and on disk for later runs.

A *row* is the hidden state that comes out of the first `depth` decoder layers for one window. Rows are found by the
window's content, so that the store knows nothing of corpora, and belong to one model under one configuration. Nothing
that goes wrong with the disk is an error: what cannot be read is computed anew, what cannot be written is not kept.

Two threads of its own spare the training loop the disk: one brings rows that are announced (`bring`), one writes. They
read and append whole records and touch nothing else; all that decides is done in the thread that calls the store.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from filelock import BaseFileLock
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from frostline.engine.prefix_file import RowFile, RowKind
from frostline.engine.prefix_folder import RESERVED_BYTES, largest_share, make_room, touch
from frostline.free_memory import free_memory_bytes
from frostline.readable import rough_size
from frostline.started import memory_shares
from frostline.storage import take_lock

_FORMAT = 1
"""Version of the files; another one has folders of its own."""
_GRANT_BYTES = 16_000_000
"""Written at most before looking again at what other runs put into the folder."""
_WAITING_BYTES = 64_000_000
"""Rows that wait to be written; whoever puts another one waits for the oldest."""


def window_key(input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64] | None) -> bytes:
    """32 bytes that stand for one window: its tokens [sequence], and its mask [sequence] if there is one."""
    digest = hashlib.sha256(f"{len(input_ids)}:{attention_mask is not None}:".encode())
    digest.update(np.ascontiguousarray(input_ids, dtype="<i8").data)
    if attention_mask is not None:
        digest.update(np.ascontiguousarray(attention_mask, dtype="<i8").data)
    return digest.digest()


@dataclass(frozen=True)
class PrefixIdentity:
    """What a row depends on besides its window."""

    model_sha256: str
    """Hash of the base model."""
    configuration: str
    """What else decides the bits: the model's configuration, precision, versions, threads, device."""

    @property
    def digest(self) -> bytes:
        """32 bytes that stand for all of it."""
        return hashlib.sha256(json.dumps([_FORMAT, self.model_sha256, self.configuration]).encode()).digest()

    @property
    def folder_name(self) -> str:
        """Name of the folder with these rows."""
        return self.digest.hex()[:32]


@dataclass(frozen=True)
class PrefixStatistics:
    """What a store has done since it was opened, and what it holds."""

    found_in_memory: int
    found_on_disk: int
    computed: int
    """Rows put in that were not there."""
    damaged: int
    """Records on disk that were not what they should be."""
    memory_bytes: int
    disk_bytes: int
    full: bool
    """Whether some row could not be kept where it should be."""
    reason: str
    """Why new rows are not kept on disk (or, without a disk, in memory), as a sentence; empty if they are."""


class PrefixStore:
    """The rows of one model. Memory alone if `folder` is None or `disk_bytes` is 0.

    `disk_bytes` bounds `folder` as a whole: rows of other models, the least recently used first, make way for these,
    unless another process is at them. Only one store at a time writes the rows of a model; a second one reads what is
    there and keeps new rows in memory alone. Its methods are for one thread. A row that was put is found at once; it is
    on disk, for other processes, after `flush` or `close`.
    """

    def __init__(
        self,
        identity: PrefixIdentity,
        *,
        folder: Path | None,
        memory_bytes: int,
        disk_bytes: int,
        require_unchanged: Callable[[], None] = lambda: None,
    ) -> None:
        """`require_unchanged` is asked before a row is kept, and raises where the model is not what it was."""
        self._identity = identity
        self.require_unchanged = require_unchanged
        self._root = folder if disk_bytes > 0 else None
        self._memory_bound, self._disk_bound = memory_bytes, disk_bytes
        self._memory: dict[tuple[bytes, int], Tensor] = {}
        self._memory_bytes = 0
        self._files: dict[RowKind, RowFile] = {}
        self._depths: set[int] = set()
        self._found_in_memory = self._found_on_disk = self._computed = 0
        self._lock: BaseFileLock | None = None
        self._writing = False
        self._granted_bytes = 0
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="prefix reader")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="prefix writer")
        self._brought: dict[tuple[bytes, int], Future[Tensor | None]] = {}
        """Rows that were announced last, read or about to be."""
        self._brought_before: dict[tuple[bytes, int], Future[Tensor | None]] = {}
        """Those announced before that: the rows of the step that is being taken."""
        self._waiting: dict[tuple[bytes, int], tuple[Future[None], Tensor]] = {}
        """Rows that are not on disk yet, the oldest first."""
        self._waiting_bytes = 0
        self._full, self._reason = False, ""
        self._at_close: PrefixStatistics | None = None
        if self._root is not None:
            self._open(self._root)

    def find(self, window: bytes, depth: int) -> Float[Tensor, "sequence hidden"] | None:
        """The row at exactly `depth`, on the CPU and not to be written into; None if there is none that is sound."""
        row = self._memory.get((window, depth))
        if row is not None:
            self._found_in_memory += 1
            return row
        if (waiting := self._waiting.get((window, depth))) is not None:
            self._found_in_memory += 1
            return waiting[1]
        brought = self._brought.get((window, depth)) or self._brought_before.get((window, depth))
        row = None if brought is None else brought.result()
        if row is None and (file := self._file_with(window, depth)) is not None:
            row = file.read(window)
        if row is not None:
            self._found_on_disk += 1
            self._remember(window, depth, row)
        return row

    def holds(self, window: bytes, depth: int) -> bool:
        """Whether there is a row at exactly `depth`, sound or not."""
        key = (window, depth)
        return key in self._memory or key in self._waiting or self._file_with(window, depth) is not None

    def bring(self, windows: Iterable[bytes], depths: Iterable[int]) -> None:
        """Begin to read what `deepest` will be asked for: of these windows, at each of `depths`.

        Called while a step begins, for the next one: what was announced last stays, what came before is let go of.
        """
        wanted = list(depths)
        self._brought_before, self._brought = self._brought, {}
        for window in windows:
            for depth in wanted:
                reached = next((own for own in self._descending(depth) if self.holds(window, own)), None)
                key = (window, depth if reached is None else reached)
                file = self._file_with(*key)
                if key in self._brought:
                    continue
                if key in self._brought_before:
                    self._brought[key] = self._brought_before[key]
                elif file is not None and not any(key in at_hand for at_hand in (self._memory, self._waiting)):
                    self._brought[key] = self._reader.submit(file.read, window)

    def deepest(self, window: bytes, depth: int) -> tuple[int, Float[Tensor, "sequence hidden"]] | None:
        """The deepest row that is at most `depth` deep, and its depth: an arm that freezes deeper starts from it."""
        for reached in self._descending(depth):
            row = self.find(window, reached)
            if row is not None:
                return reached, row
        return None

    def put(self, window: bytes, depth: int, row: Float[Tensor, "sequence hidden"]) -> None:
        """Keep a copy of `row`, in memory and on disk, as far as there is room; nothing if it is there already."""
        if self.holds(window, depth):
            return
        self.require_unchanged()
        self._computed += 1
        copied = torch.empty(row.shape, dtype=row.dtype).copy_(row.detach())
        if not self._remember(window, depth, copied) and self._root is None:
            self._stop(
                f"The prefix cache is full at {rough_size(self._memory_bound)}: other rows are computed each time. "
                "Raise training.prefix_cache.memory_mb to keep more."
            )
        if self._writing:
            self._write(window, depth, copied)

    def keep_only(self, windows: Iterable[bytes]) -> None:
        """Drop the rows of other windows from memory. With random offsets a window serves the arms of one step."""
        kept = set(windows)
        self._memory = {key: row for key, row in self._memory.items() if key[0] in kept}
        self._memory_bytes = sum(row.nbytes for row in self._memory.values())

    def flush(self) -> None:
        """Wait until all that was put is on disk, or cannot be."""
        self._collect(0)

    @property
    def folder(self) -> Path | None:
        """Where these rows are written; None where they are not."""
        return self._root / self._identity.folder_name if self._root is not None and self._writing else None

    @property
    def owner(self) -> bytes:
        """What the files of these rows are marked with: a digest of the model and its settings."""
        return self._identity.digest

    @property
    def place(self) -> str:
        """Where rows are kept, in words."""
        return "memory" if self._root is None else str(self._root)

    @property
    def memory_bound_bytes(self) -> int:
        """Size of all rows that memory may hold."""
        return self._memory_bound

    @property
    def disk_room_bytes(self) -> int:
        """Bytes that can still be written; 0 where nothing is."""
        if not self._writing or self._root is None:
            return 0
        share = largest_share(self._root, self._identity.folder_name, self._disk_bound)
        return max(0, share - sum(file.bytes for file in self._files.values()))

    @property
    def room_bytes(self) -> int:
        """Size of all rows that can be held at once, those that are there already included."""
        on_disk = sum(file.bytes for file in self._files.values())
        if self._writing and self._root is not None:
            on_disk = max(on_disk, largest_share(self._root, self._identity.folder_name, self._disk_bound))
        return max(self._memory_bound, on_disk)  # not the sum: rows in memory are on disk as well

    def statistics(self) -> PrefixStatistics:
        """What happened so far."""
        if self._at_close is not None:
            return self._at_close
        self.flush()
        return PrefixStatistics(
            found_in_memory=self._found_in_memory,
            found_on_disk=self._found_on_disk,
            computed=self._computed,
            damaged=sum(file.damaged for file in self._files.values()),
            memory_bytes=self._memory_bytes,
            disk_bytes=sum(file.bytes for file in self._files.values()),
            full=self._full,
            reason=self._reason,
        )

    def close(self) -> None:
        """Give memory, files and lock back: nothing is found or kept any more. Statistics stay."""
        self._at_close = self.statistics()
        self._reader.shutdown(cancel_futures=True)
        self._writer.shutdown()
        self._brought, self._brought_before = {}, {}
        for file in self._files.values():
            file.close()
        self._memory, self._memory_bound, self._files, self._depths = {}, 0, {}, set()
        self._writing = False
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> PrefixStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, root: Path) -> None:
        own = root / self._identity.folder_name
        try:
            self._lock = take_lock(own)
            if self._lock is None:
                self._reason = "Another run is writing prefixes of this model: new ones are kept in memory only."
            else:
                self._writing = True
                touch(own)
                make_room(root, own.name, 0, self._disk_bound)
        except OSError as error:
            self._stop_writing(error)
        kinds = [RowKind.from_file_name(name) for name in _names_in(own)]
        for kind in [kind for kind in kinds if kind is not None and not kind.passing]:
            try:
                self._file_of(own, kind)
            except OSError as error:
                self._stop_writing(error)

    def _file_of(self, own: Path, kind: RowKind) -> RowFile:
        """The file with rows of this kind, opened (and made, if need be) on first use."""
        file = self._files.get(kind)
        if file is None:
            file = RowFile(own, kind, self._identity.digest, writing=self._writing)
            self._files[kind] = file
            self._depths.add(kind.depth)
        return file

    def _descending(self, depth: int) -> list[int]:
        """Depths at which there may be rows, down from `depth`."""
        return sorted((own for own in self._depths if own <= depth), reverse=True)

    def _file_with(self, window: bytes, depth: int) -> RowFile | None:
        """The file with the row; None if it is not on disk."""
        return next((file for kind, file in self._files.items() if kind.depth == depth and window in file), None)

    def _remember(self, window: bytes, depth: int, row: Tensor) -> bool:
        """Whether there was room for `row` in memory; nothing makes way, since windows come back in turn."""
        if self._memory_bytes + row.nbytes > self._memory_bound:
            return False
        self._memory[window, depth] = row
        self._memory_bytes += row.nbytes
        self._depths.add(depth)
        return True

    def _write(self, window: bytes, depth: int, row: Tensor) -> None:
        kind = RowKind.of(depth, row)
        if kind is None or self._root is None:
            return
        own = self._identity.folder_name
        try:
            if self._granted_bytes < kind.record_bytes:
                self._collect(0)  # what waits is on disk before its size is asked, and counts once
                if not self._writing:
                    return
                left = make_room(self._root, own, kind.record_bytes, self._disk_bound)
                if left < kind.record_bytes:
                    self._stop(self._no_room(self._root, kind.record_bytes))
                    return
                self._granted_bytes = min(left, max(kind.record_bytes, _GRANT_BYTES))
            file = self._file_of(self._root / own, kind)
        except OSError as error:
            self._stop_writing(error)
            return
        self._granted_bytes -= kind.record_bytes
        self._waiting[window, depth] = (self._writer.submit(file.append, window, row), row)
        self._waiting_bytes += kind.record_bytes
        self._collect(_WAITING_BYTES)

    def _collect(self, bound_bytes: int) -> None:
        """Let go of rows that were written; wait for the oldest while more than `bound_bytes` are still to come."""
        for key, (written, row) in list(self._waiting.items()):
            if self._waiting_bytes <= bound_bytes and not written.done():
                return
            try:
                written.result()
            except OSError as error:
                if self._writing:
                    self._stop_writing(error)
            del self._waiting[key]
            kind = RowKind.of(key[1], row)
            self._waiting_bytes -= 0 if kind is None else kind.record_bytes

    def _stop_writing(self, error: OSError) -> None:
        where = f"The prefix cache in {self._root} cannot be written ({error.strerror or error})"
        self._stop(f"{where}: new prefixes are kept in memory only.")

    def _stop(self, reason: str) -> None:
        self._writing, self._full, self._reason = False, True, reason

    def _no_room(self, root: Path, needed_bytes: int) -> str:
        if shutil.disk_usage(root).free - RESERVED_BYTES < needed_bytes:
            return f"The disk of {root} is nearly full: new prefixes are kept in memory only."
        bound = rough_size(self._disk_bound)
        return (
            f"The prefix cache in {root} has reached its bound of {bound}: new prefixes are kept in memory only. "
            "Raise training.prefix_cache.disk_mb to keep more."
        )


def default_memory_bytes() -> int:
    """A quarter of this process's share of the memory that is free now."""
    return free_memory_bytes() // (4 * memory_shares())


def default_disk_bytes(folder: Path, *, filled: bool = False) -> int:
    """A tenth of what is free now on the disk of `folder`, which need not exist yet; half of it where rows are filled.

    A run that fills its rows cannot do without them.
    """
    there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), None)
    return 0 if there is None else shutil.disk_usage(there).free // (2 if filled else 10)


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []
