"""A GPU that is none: what torch is asked about CUDA is answered and written down.

It has a clock of its own, in milliseconds, which `work` turns, and memory that is told by numbers. Tensors stay where
they are: what must run on a real one is tested in `tests/cuda`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

DEVICE = torch.device("cuda")
VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF",
)  # fmt: skip


@dataclass
class StandInGpu:
    """What it was asked, in order, and what it answers."""

    asked: list[str] = field(default_factory=list)
    milliseconds: float = 0.0
    """Its clock, as of the end of what was queued."""
    free_bytes: int = 8_000
    allocated_bytes: int = 1_000
    reserved_bytes: int = 3_000
    count: int = 2
    current: int = 1

    def work(self, milliseconds: float) -> None:
        """Be given something to do that takes so long."""
        self.milliseconds += milliseconds


def stand_in_gpu(patch: pytest.MonkeyPatch) -> StandInGpu:
    """Let torch have a GPU, for as long as `patch` holds."""
    gpu = StandInGpu()

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = gpu.milliseconds

        def elapsed_time(self, later: Event) -> float:
            assert "wait for an event" in gpu.asked, "an event is read before it has come about"
            return later.at - self.at

        def synchronize(self) -> None:
            gpu.asked.append("wait for an event")

    answers: dict[str, object] = {
        "is_available": lambda: True,
        "is_bf16_supported": lambda including_emulation=True: True,
        "current_device": lambda: gpu.current,
        "set_device": lambda device: setattr(gpu, "current", torch.device(device).index),
        "device_count": lambda: gpu.count,
        "get_device_name": lambda index=0: ("another", "Stand-In 9000")[index],
        "synchronize": lambda device=None: gpu.asked.append("wait for all"),
        "empty_cache": lambda: gpu.asked.append("empty the cache"),
        "mem_get_info": lambda device=None: (gpu.free_bytes, 10_000),
        "memory_allocated": lambda device=None: gpu.allocated_bytes,
        "memory_reserved": lambda device=None: gpu.reserved_bytes,
        "max_memory_allocated": lambda device=None: gpu.allocated_bytes,
        "max_memory_reserved": lambda device=None: gpu.reserved_bytes,
        "reset_peak_memory_stats": lambda device=None: gpu.asked.append("begin the peak anew"),
        "Event": Event,
    }
    for name, answer in answers.items():
        patch.setattr(torch.cuda, name, answer)
    patch.setattr(torch.version, "cuda", "12.8")
    for variable in VARIABLES:
        patch.setenv(variable, "as it was")
        patch.delenv(variable)
    return gpu


@contextmanager
def switched_back() -> Iterator[None]:
    """Switches of torch are afterwards as before."""
    backends = torch.backends
    switches: list[tuple[Any, str]] = [
        (backends.cudnn, "benchmark"),
        (backends.cudnn, "deterministic"),
        (torch.utils.deterministic, "fill_uninitialized_memory"),
        (backends.cuda.matmul, "fp32_precision"),
        (backends.cudnn.conv, "fp32_precision"),  # type: ignore[attr-defined]  # set when torch is imported
        (backends.cudnn.rnn, "fp32_precision"),
        (backends.cuda.matmul, "allow_bf16_reduced_precision_reduction"),
        (backends.cuda.matmul, "allow_fp16_reduced_precision_reduction"),
    ]
    before = [getattr(owner, name) for owner, name in switches]
    deterministic, fused = torch.are_deterministic_algorithms_enabled(), backends.cuda.cudnn_sdp_enabled()
    try:
        yield
    finally:
        for (owner, name), value in zip(switches, before, strict=True):
            setattr(owner, name, value)
        torch.use_deterministic_algorithms(deterministic)
        backends.cuda.enable_cudnn_sdp(fused)
