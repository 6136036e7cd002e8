"""Why should freed memory be kept? Because the next step asks for the same again.

glibc hands blocks of more than 32 MB back to the system when they are freed, and trims its heap; fetched anew, every
page of them is zeroed and mapped by the kernel. A training step frees and fetches gigabytes in this way, which costs
a third of its time on two cores (measured by `bench/engine.py`, which times the reference loop without this).
"""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD = -1
_MMAP_MAX = -4
"""Numbers of `mallopt(3)`'s options, from glibc's `malloc.h`."""


def give_back_freed_memory() -> None:
    """Return what is free to the system once, so that a measured peak holds only what is in use."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for its next use. False where the C library is not glibc.

    Holds for the whole process and changes no result. What is kept counts as this process's memory until it ends.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
