"""How much memory has this process used at most? Read from the operating system or the allocator, never sampled.

On Linux it is the high-water mark of the resident set (`VmHWM`), not `getrusage`'s `ru_maxrss`: a process inherits the
latter from the one that started it, so that an arm measured alone would be given its parent's peak.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""What `proc(5)` wants written to start the high-water mark anew."""


def memory_method(device: torch.device) -> str:
    """`process RSS` or `CUDA allocator`."""
    return "CUDA allocator" if device.type == "cuda" else "process RSS"


def peak_bytes(device: torch.device) -> int:
    """Peak memory since `reset_peak`, or since this process began; on CUDA the allocator's, of tensors alone."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    mark = _high_water_mark()
    return _largest_resident_set() if mark is None else mark


def reserved_peak_bytes(device: torch.device) -> int | None:
    """Most that the allocator held since `reset_peak`, tensors and what lay unused between them; None on a CPU.

    Beside it CUDA has a context of some hundred megabytes in each process, of which no process is told.
    """
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None


def reset_peak(device: torch.device) -> bool:
    """Let `peak_bytes` begin anew with what is in use now. False where the system cannot (CPU, other than Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    if _high_water_mark() is None:
        return False
    try:
        _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
    except OSError:  # a kernel or container that does not offer it
        return False
    return True


def _high_water_mark() -> int | None:
    """Bytes, or None where there is no Linux `/proc`."""
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def _largest_resident_set() -> int:
    """Bytes, by the means of systems without `/proc`."""
    if sys.platform == "win32":
        import psutil

        peak: int = psutil.Process().memory_info().peak_wset
        return peak
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024
