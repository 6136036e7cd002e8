"""In which arithmetic, on which device? Settles `auto`, and gives the autocast context of a step."""

from __future__ import annotations

import torch

from frostline.errors import RecipeError
from frostline.machine import native_bf16


def resolve_device(wanted: str) -> torch.device:
    """`auto` takes CUDA where there is one. Raises `RecipeError` for a device that is not there."""
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise RecipeError("this machine has no CUDA device.", "Use 'cpu' or 'auto'.").at("training", "device")
    return torch.device("cuda" if wanted == "cuda" or (wanted == "auto" and available) else "cpu")


def resolve_precision(wanted: str, device: torch.device) -> str:
    """`fp32` or `bf16`: `auto` takes bf16 only where the machine computes it natively."""
    if wanted == "auto":
        return "bf16" if native_bf16(device) else "fp32"
    return wanted


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context of a forward pass: bf16 arithmetic over fp32 weights, or fp32 throughout."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it, so that a clock read next is honest."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
