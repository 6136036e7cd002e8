"""Why should freed memory be kept? Because the next step asks for the same again.

glibc hands blocks of more than 32 MB back to the system when they are freed, and trims its heap; fetched anew, every
page of them is zeroed and mapped by the kernel. A training step frees and fetches gigabytes in this way, which costs
a third of its time on two cores (measured by `bench/engine.py`, which times the reference loop without this).
"""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""Numbers of `mallopt(3)`'s options, from glibc's `malloc.h`."""
LARGE_BLOCK_BYTES = 32 << 20
"""The largest block that glibc can be told to take from the heap, which is what it does of itself."""
_MOST_LARGE_BLOCKS = 65536
"""How many blocks lie outside of the heap at most: glibc's own number."""


def give_back_freed_memory() -> None:
    """Return what is free to the system once, so that a measured peak holds only what is in use."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def keep_freed_memory(*, large_blocks: bool = True) -> bool:
    """Let this process keep the memory that it frees, for its next use. False where the C library is not glibc.

    Holds for the whole process and changes no result. What is kept counts as this process's memory until it ends, and
    where blocks of several sizes come and go, some of it lies between others and serves none: without `large_blocks`,
    those of 32 MiB or more go back to the system at once, which takes time and leaves no such gaps.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    options = {
        _MMAP_THRESHOLD: LARGE_BLOCK_BYTES,
        _MMAP_MAX: 0 if large_blocks else _MOST_LARGE_BLOCKS,
        _TRIM_THRESHOLD: 2**31 - 1,
    }
    return all(mallopt(option, value) for option, value in options.items())
