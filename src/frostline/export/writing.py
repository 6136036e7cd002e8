"""How is a safetensors file written without holding it in memory? Its header first, then one tensor after another.

The library's own `save_file` wants all tensors at once, and sorts them. Here they lie in the order that is given, those
of wider types before narrower ones where types differ, as readers want their places aligned.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

_ALIGNMENT = 8
_CHUNK_BYTES = 1 << 26


@dataclass(frozen=True)
class Entry:
    """A tensor that is to be written."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    """Bytes of its values."""
    chunks: Callable[[], Iterable[bytes | memoryview]]
    """Gives its bytes, when they are written."""

    @property
    def width(self) -> float:
        """Bytes of one value."""
        return self.size / max(1, torch.Size(self.shape).numel())


def write_tensors(
    path: Path, entries: Sequence[Entry], metadata: Mapping[str, str], *, header: bytes | None = None
) -> None:
    """Write `entries` to the new file `path`, flushed to the disk. Raises `OSError`.

    `header` is one that is known to be right for them in their order; else it is made.
    """
    if header is None:
        entries = sorted(entries, key=lambda entry: -entry.width)
        header = _header(entries, metadata)
    with path.open("xb") as file:
        file.write(header)
        for entry in entries:
            written = 0
            for chunk in entry.chunks():
                file.write(chunk)
                written += len(chunk)
            if written != entry.size:
                raise OSError(f"'{entry.name}' has {written:,} bytes instead of {entry.size:,}")
        file.flush()
        os.fsync(file.fileno())


def bytes_of(tensor: Tensor) -> Iterator[memoryview]:
    """The bytes of `tensor` in its own type, row by row."""
    for part in tensor.detach().reshape(-1).split(max(1, _CHUNK_BYTES // tensor.element_size())):
        if part.numel():
            # Through uint8, since numpy knows no bfloat16.
            yield memoryview(part.contiguous().view(torch.uint8).cpu().numpy())


def _header(entries: Sequence[Entry], metadata: Mapping[str, str]) -> bytes:
    content: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for entry in entries:
        begin, end = end, end + entry.size
        content[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [begin, end]}
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
