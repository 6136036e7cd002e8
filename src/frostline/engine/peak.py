"""How fast does this machine multiply matrices at best? The yardstick for the speed of a step."""

from __future__ import annotations

import time

import torch

from frostline.engine.device import synchronize

SIZES = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the square matrices, by type of device: large enough for the kernels' best."""
ROUNDS = 7


def measured_peak(device: torch.device, precision: str, size: int | None = None) -> float:
    """Floating-point operations per second of a product of two square matrices, the best of a few rounds.

    They have `size` rows and columns, unless told otherwise enough for the kernels' best.
    """
    size = SIZES.get(device.type, SIZES["cpu"]) if size is None else size
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    generator = torch.Generator(device=device).manual_seed(0)
    left = torch.randn(size, size, generator=generator, device=device).to(dtype)
    right = torch.randn(size, size, generator=generator, device=device).to(dtype)
    product = torch.empty(size, size, device=device, dtype=dtype)
    best = 0.0
    with torch.no_grad():
        for _ in range(ROUNDS):
            synchronize(device)
            started = time.perf_counter()
            torch.mm(left, right, out=product)
            synchronize(device)
            best = max(best, 2.0 * size**3 / (time.perf_counter() - started))
    return best
