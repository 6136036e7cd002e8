"""In which arithmetic is a forward pass computed? The context of every pass: precision, and kernels of attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from frostline.engine.device import attention_kernels


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context of a forward pass: bf16 arithmetic over fp32 weights, or fp32 throughout."""
    arithmetic = torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
    return arithmetic if device.type == "cpu" else _on_gpu(arithmetic, device)


@contextmanager
def _on_gpu(arithmetic: torch.autocast, device: torch.device) -> Iterator[None]:
    with attention_kernels(device), arithmetic:
        yield
