"""Did memory run out? Python, numpy, torch's allocators, CUDA's libraries and the system have their ways to say it.

Torch is not imported: the command asks, too, whatever it was doing.
"""

from __future__ import annotations

import re

from frostline.readable import size
from frostline.text import without_home

MEMORY_ERRORS = (MemoryError, RuntimeError, OSError)
"""What may be raised where memory runs out; `is_out_of_memory` tells whether it did."""
_SAID = re.compile(r"can('|no)t allocate memory|out of memory|bad_alloc|_ALLOC_FAILED", re.IGNORECASE)
_WANTED = re.compile(r"tried to allocate ([\d.]+) (bytes|[KMG]i?B)", re.IGNORECASE)
_UNITS = {"bytes": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError | OSError) and _SAID.search(str(error)) is not None


def want_of_memory(error: BaseException) -> str:
    """What `error`, by which memory ran out, says of it: a line that may be kept."""
    wanted = _WANTED.search(str(error))
    if wanted is not None:
        return f"out of memory: {size(float(wanted[1]) * _UNITS[wanted[2].lower()])} more were not to be had"
    first = without_home((str(error).splitlines() or [""])[0])
    return f"out of memory: {first}" if first else "out of memory"
