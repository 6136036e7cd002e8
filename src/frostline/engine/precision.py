"""In which arithmetic, on which device? Settles `auto`, and gives the autocast context of a step."""

from __future__ import annotations

import platform

import torch

from frostline.errors import TrainingError


def settle_device(wanted: str) -> torch.device:
    """`auto` takes CUDA where there is one. Raises `TrainingError` for a device that is not there."""
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise TrainingError("training.device: this machine has no CUDA device.", "Use 'cpu' or 'auto'.")
    return torch.device("cuda" if wanted == "cuda" or (wanted == "auto" and available) else "cpu")


def computes_bf16_natively(device: torch.device) -> bool:
    """Whether the machine multiplies bf16 matrices in hardware, instead of emulating it more slowly than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if platform.machine() in ("x86_64", "AMD64"):
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def settle_precision(wanted: str, device: torch.device) -> str:
    """`fp32` or `bf16`: `auto` takes bf16 only where the machine computes it natively."""
    if wanted == "auto":
        return "bf16" if computes_bf16_natively(device) else "fp32"
    return wanted


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context of a forward pass: bf16 arithmetic over fp32 weights, or fp32 throughout."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it, so that a clock read next is honest."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
