"""Can this machine keep weights in nf4, and an optimizer's moments in 8 bits? Both are done by bitsandbytes.

It is an extra, imported where it is used alone: that takes seconds. What it does here is tried before anything runs.
"""

from __future__ import annotations

import importlib
import warnings
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import nn

from frostline.errors import MissingExtraError, RecipeError
from frostline.recipe import TrainingSettings

INSTALL = 'Install it: pip install "frostline[low-bit]"'
_SIZE = 4096
"""Values of the smallest tensor whose moments it keeps in 8 bits."""


@cache
def bitsandbytes() -> Any:  # noqa: ANN401  # a module without types
    """The package. Raises `ImportError` where it is not installed, and whatever its loading raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it cannot do on this machine, which is tried where it is needed
        module: ModuleType = importlib.import_module("bitsandbytes")
    return module


def require_low_bit(training: TrainingSettings, device: torch.device) -> None:
    """Raise `MissingExtraError` or `RecipeError` where `device` cannot do what `training` asks for in few bits."""
    if training.frozen_weights == "nf4" and training.engine == "fast":
        _require("frozen_weights", "nf4", "int8", device)
    if training.optimizer == "adamw-8bit":
        _require("optimizer", "adamw-8bit", "adamw", device)


def _require(key: str, wanted: str, instead: str, device: torch.device) -> None:
    try:
        bitsandbytes()
        trouble = None if (_nf4_works(device) if wanted == "nf4" else _moments_work(device)) else "gives wrong results"
    except Exception as error:  # whatever it is, it does not run
        if isinstance(error, ModuleNotFoundError) and error.name == "bitsandbytes":
            missing = MissingExtraError(f"'{wanted}' needs the package 'bitsandbytes'.", INSTALL)
            raise missing.at("training", key) from error
        trouble = f"does not run ({_first_line(error)})"
    if trouble is not None:
        raise RecipeError(
            f"'{wanted}' needs bitsandbytes, which {trouble} on this machine's {device.type.upper()}.",
            f"Use '{instead}'.",
        ).at("training", key)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:100]


def _nf4_works(device: torch.device) -> bool:
    """Whether values come back nearly, in both precisions."""
    functional = bitsandbytes().functional
    values = torch.linspace(-1, 1, _SIZE, device=device)
    for dtype in (torch.float32, torch.bfloat16):
        packed, state = functional.quantize_4bit(values.to(dtype), blocksize=64, quant_type="nf4")
        back = functional.dequantize_4bit(packed, state).float().flatten()
        if not (back - values).abs().max() < 0.2:
            return False
    return True


def _moments_work(device: torch.device) -> bool:
    """Whether a step goes against the gradient by nearly the learning rate, and keeps bytes."""
    parameter = nn.Parameter(torch.zeros(64, 64, device=device))
    optimizer = bitsandbytes().optim.AdamW8bit([parameter], lr=0.5, weight_decay=0.0)
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    kept = [own for own in optimizer.state[parameter].values() if isinstance(own, torch.Tensor)]
    return any(own.dtype == torch.uint8 for own in kept) and bool(((parameter + 0.5).abs() < 0.05).all())
