"""Rows of a prefix store for tests: numbered windows, numbered rows, stores that hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from frostline.engine.prefix_file import DIGEST_BYTES, HEADER_BYTES
from frostline.engine.prefix_store import (
    PrefixIdentity,
    PrefixStore,
    window_key,
)

MODEL = PrefixIdentity("a" * 64, "bf16, 2 threads")
OTHER, THIRD = PrefixIdentity("b" * 64, "bf16, 2 threads"), PrefixIdentity("c" * 64, "bf16, 2 threads")
SHAPE = (4, 6)
PAYLOAD_BYTES = 4 * 6 * 4
RECORD_BYTES = HEADER_BYTES + PAYLOAD_BYTES + DIGEST_BYTES
DEPTH = 3
PLENTY = 1 << 30


def window(number: int) -> bytes:
    return window_key(np.full(4, number, dtype=np.int64), None)


def row(number: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(number)).to(dtype)


def open_store(
    folder: Path | None, identity: PrefixIdentity = MODEL, *, memory_bytes: int = 0, disk_bytes: int = PLENTY
) -> PrefixStore:
    return PrefixStore(identity, folder=folder, memory_bytes=memory_bytes, disk_bytes=disk_bytes)


def fill(folder: Path, identity: PrefixIdentity = MODEL, rows: int = 3) -> None:
    with open_store(folder, identity) as store:
        for number in range(rows):
            store.put(window(number), DEPTH, row(number))


def rows_file(folder: Path, identity: PrefixIdentity = MODEL) -> Path:
    (path,) = (folder / identity.folder_name).glob("*.rows")
    return path


def flip_bit(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def same_bits(found: Tensor | None, expected: Tensor) -> bool:
    if found is None or found.dtype != expected.dtype or found.shape != expected.shape:
        return False
    return bytes(found.contiguous().view(torch.uint8).numpy()) == bytes(expected.view(torch.uint8).numpy())
