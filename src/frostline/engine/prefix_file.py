"""How does a stored row survive a crash, a bad disk, a mix-up? An append-only file of records that prove themselves.

A record is a header (magic, window key, type, shape, check), the row's bytes, and a SHA-256 over all of that and over
what the file belongs to (model, settings, depth). All records of a file have one size, so that a damaged one does not
hide those behind it. Opening reads headers alone. The SHA-256 is verified when a process first reads a record; what
happens to it after that shows in a checksum, which takes half the time.

Rows are read, not mapped: what is verified must be a copy anyway, and a map of a file that another process cuts short,
or of a disk that fails, would kill the process instead of giving an `OSError`.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import sys
import zlib
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from threading import Lock

import torch
from jaxtyping import Float
from torch import Tensor

MAGIC = b"frstrow1"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Types that a row on disk can have."""
_FIELDS = struct.Struct("<8s32s8sII")
"""Magic, window key, type, sequence, hidden."""
_CHECK_BYTES = 8
HEADER_BYTES = _FIELDS.size + _CHECK_BYTES
DIGEST_BYTES = 32
_NAME = re.compile(r"depth-(\d{1,6})\.(\d{1,9})x(\d{1,9})\.([a-z0-9]+)(\.passing)?\.rows")


@dataclass(frozen=True)
class RowKind:
    """What the rows of one file have in common."""

    depth: int
    sequence: int
    hidden: int
    dtype: str
    passing: bool = False
    """Whether the rows only lie here on the way to a greater depth (`prefix_fill`), and go when that is reached."""

    @classmethod
    def of(cls, depth: int, row: Float[Tensor, "sequence hidden"], *, passing: bool = False) -> RowKind | None:
        """The kind of `row`; None for a type that is not kept on disk."""
        name = next((name for name, dtype in DTYPES.items() if dtype == row.dtype), None)
        return None if name is None else cls(depth, row.shape[0], row.shape[1], name, passing)

    @classmethod
    def from_file_name(cls, name: str) -> RowKind | None:
        """The kind of the rows in the file `name`; None if that is not a file of rows."""
        match = _NAME.fullmatch(name)
        if match is None or match[4] not in DTYPES:
            return None
        return cls(int(match[1]), int(match[2]), int(match[3]), match[4], match[5] is not None)

    @property
    def file_name(self) -> str:
        passing = ".passing" if self.passing else ""
        return f"depth-{self.depth}.{self.sequence}x{self.hidden}.{self.dtype}{passing}.rows"

    @property
    def payload_bytes(self) -> int:
        return self.sequence * self.hidden * DTYPES[self.dtype].itemsize

    @property
    def record_bytes(self) -> int:
        return HEADER_BYTES + self.payload_bytes + DIGEST_BYTES


class RowFile:
    """The rows of one kind that belong to one `owner` (a digest of the model and its settings). Opening scans headers.

    For several threads: a record is read or written as a whole. Raises `OSError` where the file cannot be opened, read
    or, for a writer, put in order.
    """

    def __init__(self, folder: Path, kind: RowKind, owner: bytes, *, writing: bool) -> None:
        self.kind = kind
        self._salt = owner + struct.pack("<I", kind.depth)
        self._places: dict[bytes, int] = {}
        self._checksums: dict[bytes, int] = {}
        """Of the records that this process has verified, or written."""
        self._turn = Lock()
        self.damaged = 0
        """Records found damaged so far, on opening and on reading."""
        flags = (os.O_RDWR | os.O_CREAT) if writing else os.O_RDONLY
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(folder / kind.file_name, flags, 0o644)
        self._file = FileIO(descriptor, "r+" if writing else "r")
        try:
            self.bytes = self._scan()
            if writing:
                self._file.truncate(self.bytes)
        except OSError:
            self._file.close()
            raise

    def __contains__(self, window: bytes) -> bool:
        return window in self._places

    def __len__(self) -> int:
        return len(self._places)

    def read(self, window: bytes) -> Float[Tensor, "sequence hidden"] | None:
        """The row of `window`, verified. None, and forgotten from then on, if its record is damaged or not there."""
        place = self._places.get(window)
        if place is None:
            return None
        record = torch.empty(self.kind.record_bytes, dtype=torch.uint8)
        whole = record.numpy().data
        try:
            with self._turn:
                self._file.seek(place)
                read = self._file.readinto(whole)
        except (OSError, ValueError):  # the disk; or closed by another thread
            read = 0
        if read != len(whole) or not self._is_sound(window, whole):
            if self._places.pop(window, None) is not None:
                self.damaged += 1
            return None
        row = record[HEADER_BYTES : len(whole) - DIGEST_BYTES].view(DTYPES[self.kind.dtype])
        return row.view(self.kind.sequence, self.kind.hidden)

    def _is_sound(self, window: bytes, record: memoryview) -> bool:
        """Whether `record` is what was written for `window`: by its digest the first time, then by its checksum."""
        known = self._checksums.get(window)
        if known is not None:
            return zlib.crc32(record) == known
        header, end = self._header(window), len(record) - DIGEST_BYTES
        if record[: len(header)] != header or self._digest(record[:end]) != record[end:]:
            return False
        self._checksums[window] = zlib.crc32(record)
        return True

    def append(self, window: bytes, row: Float[Tensor, "sequence hidden"]) -> None:
        """Write the row (contiguous, on the CPU). Raises `OSError`, with the file as it was, where it cannot be."""
        header, payload = self._header(window), row.view(-1).view(torch.uint8).numpy().data
        parts = [memoryview(part) for part in (header, payload, self._digest(header, payload))]
        checksum = 0
        for part in parts:
            checksum = zlib.crc32(part, checksum)
        with self._turn:
            try:
                self._file.seek(self.bytes)
                for part in parts:
                    rest = part
                    while rest:
                        rest = rest[self._file.write(rest) :]
            except OSError:
                with suppress(OSError):
                    self._file.truncate(self.bytes)
                raise
            self._checksums[window] = checksum
            self._places[window] = self.bytes
            self.bytes += self.kind.record_bytes

    def close(self) -> None:
        """No more reading or writing."""
        self._file.close()

    def _scan(self) -> int:
        """Note where each window's record is, a later one in place of an earlier; where the next record belongs.

        That is behind the last record with a sound header: what a crash or a foreign file left there is overwritten.
        """
        record_bytes = self.kind.record_bytes
        self._expect("random")
        count, torn = divmod(os.fstat(self._file.fileno()).st_size, record_bytes)
        self.damaged += torn > 0
        end = 0
        for index in range(count):
            self._file.seek(index * record_bytes)
            header = self._file.read(HEADER_BYTES)
            window = header[len(MAGIC) : len(MAGIC) + 32]
            if len(window) == 32 and header == self._header(window):
                self._places[window] = index * record_bytes
                end = (index + 1) * record_bytes
            else:
                self.damaged += 1
        self._expect("whole rows")
        return end

    def _header(self, window: bytes) -> bytes:
        kind = self.kind
        fields = _FIELDS.pack(MAGIC, window, kind.dtype.encode(), kind.sequence, kind.hidden)
        return fields + hashlib.sha256(self._salt + fields).digest()[:_CHECK_BYTES]

    def _digest(self, *parts: bytes | memoryview) -> bytes:
        digest = hashlib.sha256(self._salt)
        for part in parts:
            digest.update(part)
        return digest.digest()

    def _expect(self, pattern: str) -> None:
        """While headers are read, the system should not read ahead: rows lie between them."""
        if sys.platform == "linux":
            advice = os.POSIX_FADV_RANDOM if pattern == "random" else os.POSIX_FADV_NORMAL
            os.posix_fadvise(self._file.fileno(), 0, 0, advice)
