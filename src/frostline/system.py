"""On which systems does Frostline run? Linux and macOS; Windows in its Subsystem for Linux, where it is Linux.

And what is the system asked for? Huge pages: a product reads matrices of megabytes in strips, and every 4 kB of them is
an address to be looked up. Torch asks for pages of 2 MB, where Linux has them, if the environment says so before it
first takes memory. The bits are the same; a step in fp32 takes a tenth less time (`bench/engine.py`), and no more
memory.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from frostline.errors import FrostlineError

_HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Environment variable of torch: 1 for huge pages, 0 for none."""
LOWEST_PRIORITY = 19


def require_supported_system() -> None:
    """Raise `FrostlineError` on a system that has no signals to stop a run cleanly with, as Windows has none."""
    if sys.platform in ("win32", "cygwin"):
        raise FrostlineError(
            "Frostline does not run on Windows itself.",
            "Install the Windows Subsystem for Linux ('wsl --install'), and Frostline in it.",
        )


def ask_for_huge_pages() -> None:
    """Let torch ask for huge pages, in this process and those that it starts, unless the environment has decided."""
    os.environ.setdefault(_HUGE_PAGES, "1")


def usable_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def make_way() -> None:
    """Let this process, which looks on while another computes, wait for its turn rather than take it.

    On as many cores as threads compute, all of these wait for the one that was put aside: a looker that wakes up does
    not put one aside any more, and gets what they leave idle, or a slice now and then.
    """
    with suppress(OSError):
        os.nice(LOWEST_PRIORITY)
    if hasattr(os, "sched_setscheduler"):  # Linux alone
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
