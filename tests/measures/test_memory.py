"""Is the peak that of this process, from the moment of the reset?"""

from __future__ import annotations

import mmap
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from frostline.measures import memory_method, peak_bytes, reserved_peak_bytes, reset_peak
from tests.builders.gpu import DEVICE, StandInGpu

CPU = torch.device("cpu")
MEBIBYTE = 1 << 20
needs_reset = pytest.mark.skipif(not reset_peak(CPU), reason="this system cannot reset a process's peak")

_CHILD = """
import runpy, sys, torch
print(runpy.run_path(sys.argv[1])["peak_bytes"](torch.device("cpu")))
"""


def fill(mebibytes: int) -> mmap.mmap:
    """Memory straight from the system, which gets it back when it is deleted, whatever the allocator keeps."""
    block = mmap.mmap(-1, mebibytes * MEBIBYTE)
    for _ in range(mebibytes):
        block.write(b"1" * MEBIBYTE)
    return block


def test_the_method_is_named_by_the_device() -> None:
    assert memory_method(CPU) == "process RSS"
    assert memory_method(torch.device("cuda", 0)) == "CUDA allocator"


@needs_reset
def test_the_peak_holds_memory_that_has_been_given_back() -> None:
    reset_peak(CPU)  # other tests of this process may have used more
    before = peak_bytes(CPU)
    held = fill(200)
    del held
    assert peak_bytes(CPU) - before > 150 * MEBIBYTE


@needs_reset
def test_a_reset_forgets_what_was_before() -> None:
    held = fill(300)
    high = peak_bytes(CPU)
    del held
    assert reset_peak(CPU)
    assert high - peak_bytes(CPU) > 200 * MEBIBYTE


@needs_reset
def test_a_process_does_not_inherit_the_peak_of_the_one_that_started_it() -> None:
    held = fill(1200)
    module = sys.modules[peak_bytes.__module__].__file__
    command = [sys.executable, "-c", _CHILD, str(module)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 0 < int(finished.stdout) < len(held)


@pytest.mark.skipif(sys.platform == "win32", reason="has no resource module")
def test_without_proc_the_peak_is_that_of_getrusage_and_cannot_be_reset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import resource

    monkeypatch.setattr("frostline.measures.memory._STATUS", tmp_path / "missing")
    unit = 1 if sys.platform == "darwin" else 1024
    assert peak_bytes(CPU) == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    assert not reset_peak(CPU)


def test_on_a_gpu_tensors_are_counted_and_beside_them_what_the_allocator_held(gpu: StandInGpu) -> None:
    assert reset_peak(DEVICE)
    assert (peak_bytes(DEVICE), reserved_peak_bytes(DEVICE)) == (gpu.allocated_bytes, gpu.reserved_bytes)
    assert gpu.asked == ["begin the peak anew"]
    assert reserved_peak_bytes(CPU) is None
