"""How does a gradient become an update? AdamW, its moments in fp32, or in 8 bits where the recipe asks for it.

Moments in 8 bits (Dettmers et al. 2022, 8-bit Optimizers via Block-wise Quantization, arXiv:2110.02861) are inexact,
and the same for all arms. Weights and gradients stay in fp32; so do the moments of tensors of fewer than 4,096 values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from frostline.engine.low_bit import bitsandbytes
from frostline.recipe import TrainingSettings

FP32_MOMENTS_BYTES, BYTE_MOMENTS_BYTES = 8.0, 2 + 8 / 256
"""Bytes of two moments, for each weight that trains; of 256 moments in 8 bits there is one scale."""
_STEP, _SHARED = "step", ("qmap1", "qmap2")
"""What bitsandbytes calls its count of updates, and the codes that all parameters share: no file holds memory twice."""
HELD_ALIKE = (_STEP, *_SHARED)
"""What each of several processes that share a parameter's rows keeps in full."""


def make_optimizer(
    parameters: Sequence[nn.Parameter], training: TrainingSettings, *, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """The optimizer of one arm."""
    if training.optimizer == "adamw-8bit":
        optimizer: torch.optim.Optimizer = bitsandbytes().optim.AdamW8bit(
            parameters,
            lr=learning_rate,
            betas=training.betas,
            eps=training.epsilon,
            weight_decay=weight_decay,
        )
        return optimizer
    return torch.optim.AdamW(
        parameters,
        lr=learning_rate,
        betas=training.betas,
        eps=training.epsilon,
        weight_decay=weight_decay,
        fused=True,
    )


def moments_bytes(training: TrainingSettings, values: int) -> int:
    """Bytes of the moments of `values` weights that train."""
    return round(values * (BYTE_MOMENTS_BYTES if training.optimizer == "adamw-8bit" else FP32_MOMENTS_BYTES))


def saved_state(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> Iterator[tuple[str, Tensor]]:
    """What is kept of `parameter` for its next update, by name; {} before its first."""
    for key, value in optimizer.state.get(parameter, {}).items():
        tensor = torch.as_tensor(value).detach()
        yield key, tensor.clone() if key in _SHARED else tensor


def restore_state(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, saved: Mapping[str, Tensor]) -> None:
    """Let `optimizer` go on with what `saved_state` gave, in memory of its own."""
    restored: dict[str, object] = {key: value.to(parameter.device, copy=True) for key, value in saved.items()}
    if not isinstance(optimizer, torch.optim.AdamW):
        restored[_STEP] = int(saved[_STEP])  # which bitsandbytes counts as a number of Python's
    optimizer.state[parameter] = restored
