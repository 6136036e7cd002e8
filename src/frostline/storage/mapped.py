"""How does memory get rid of weights that lie in a file? The file is mapped, and its pages can be let go at any time.

On the CPU a tensor that was loaded as its file has it is no copy: its memory is the file's, a page of which counts as
memory of the process once it was read. Let go, it is read again when it is used again.
"""

from __future__ import annotations

import bisect
import ctypes
import mmap
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a room below the arithmetic: whoever calls it has loaded torch
    import torch

_MAPS = Path("/proc/self/maps")
_DONTNEED = 4
"""`MADV_DONTNEED` of Linux, for every architecture."""


def let_go_of(tensors: Iterable[torch.Tensor]) -> int:
    """Let the system have the pages of those of `tensors` that lie in a mapped safetensors file; bytes let go.

    None of them may have been written into: what was is read from the file again. Does nothing but on Linux.
    """
    whole = [(tensor, pages) for tensor in tensors if (pages := _pages_of(tensor)) is not None]
    places = _mapped_files() if whole else []  # to look takes as long as to check a matrix of a small model
    if not places:
        return 0
    starts = [start for start, _ in places]
    madvise = ctypes.CDLL(None).madvise
    let_go = 0
    for tensor, (first, end) in whole:
        place = bisect.bisect_right(starts, tensor.data_ptr()) - 1
        if place < 0 or tensor.data_ptr() + tensor.nbytes > places[place][1]:
            continue
        if madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), _DONTNEED) == 0:
            let_go += end - first
    return let_go


def mapped_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of those of `tensors` that lie in a mapped safetensors file; 0 but on Linux."""
    places = _mapped_files()
    starts = [start for start, _ in places]
    found = 0
    for tensor in tensors if places else ():
        place = bisect.bisect_right(starts, tensor.data_ptr()) - 1
        if tensor.device.type == "cpu" and place >= 0 and tensor.data_ptr() + tensor.nbytes <= places[place][1]:
            found += tensor.nbytes
    return found


def _pages_of(tensor: torch.Tensor) -> tuple[int, int] | None:
    """From where to where whole pages are the tensor's alone, for its neighbours may be in use; None without any."""
    if tensor.device.type != "cpu" or not tensor.is_contiguous():
        return None
    first = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    return (first, end) if end > first else None


def _mapped_files() -> list[tuple[int, int]]:
    """Where the process has mapped safetensors files, as addresses from and to, ascending."""
    if sys.platform != "linux":
        return []
    try:
        lines = _MAPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        place, _, rest = line.partition(" ")
        if rest.endswith(".safetensors"):
            start, _, end = place.partition("-")
            found.append((int(start, 16), int(end, 16)))
    return sorted(found)
