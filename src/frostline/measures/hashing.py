"""Are two sets of weights the same, byte for byte? One hash over names, types, shapes and raw bytes says so.

The pairing contract is checked with it: all arms of a replicate begin with one hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

CHUNK_BYTES = 1 << 26


def weights_sha256(named_tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256, as hex, of `named_tensors` in the order of their names, such as `model.named_parameters()`.

    Signs of zeros and payloads of NaNs count, since bytes are hashed; device and memory layout do not. The largest
    copy made is one chunk of 64 MiB (one tensor, where it is not contiguous).
    """
    digest = hashlib.sha256(b"frostline weights\n")
    for name, tensor in sorted(named_tensors, key=lambda pair: pair[0]):
        header = f"{len(name)}:{name}:{str(tensor.dtype).removeprefix('torch.')}:{tuple(tensor.shape)}\n"
        digest.update(header.encode())
        for chunk in _byte_chunks(tensor):
            digest.update(chunk)
    return digest.hexdigest()


def _byte_chunks(tensor: Tensor) -> Iterator[memoryview]:
    flat = tensor.detach().reshape(-1)
    for part in flat.split(max(1, CHUNK_BYTES // tensor.element_size())):
        if part.numel():
            # Through uint8, since numpy knows no bfloat16.
            yield memoryview(part.contiguous().view(torch.uint8).cpu().numpy())
