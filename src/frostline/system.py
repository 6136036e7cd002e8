"""On which systems does Frostline run? Linux and macOS; Windows in its Subsystem for Linux, where it is Linux."""

from __future__ import annotations

import os
import sys

from frostline.errors import FrostlineError


def require_supported_system() -> None:
    """Raise `FrostlineError` on a system that has no signals to stop a run cleanly with, as Windows has none."""
    if sys.platform in ("win32", "cygwin"):
        raise FrostlineError(
            "Frostline does not run on Windows itself.",
            "Install the Windows Subsystem for Linux ('wsl --install'), and Frostline in it.",
        )


def usable_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
