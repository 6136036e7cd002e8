"""What are the bytes of a tensor's values? Those of fp32 for what is held in bf16 or fp16, which it holds exactly.

A matrix that stays as its file has it and the fp32 copy of it that an arm trains are the same weights: they have one
hash. Every other type is its own bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

CHUNK_BYTES = 1 << 26


def value_type(tensor: Tensor) -> torch.dtype:
    """The type whose bytes `byte_chunks` gives."""
    return torch.float32 if tensor.dtype in (torch.bfloat16, torch.float16) else tensor.dtype


def byte_chunks(tensor: Tensor) -> Iterator[memoryview]:
    """The bytes of `tensor`, row by row, 64 MiB at a time at most; the whole is copied where it is not contiguous."""
    dtype = value_type(tensor)
    for part in tensor.detach().reshape(-1).split(max(1, CHUNK_BYTES // dtype.itemsize)):
        if part.numel():
            # Through uint8, since numpy knows no bfloat16.
            yield memoryview(part.contiguous().to(dtype).view(torch.uint8).cpu().numpy())
