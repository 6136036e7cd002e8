"""How can a still larger frozen model fit? With its frozen matrices in nf4, by bitsandbytes. Inexact: the user asks.

Each 64 weights in a row have one scale, their largest absolute value, and each is rounded to the nearest of 16
quantiles of a normal distribution (Dettmers et al. 2023, QLoRA, arXiv:2305.14314, section 3; scales stay in fp32).
"""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from frostline.engine.low_bit import bitsandbytes
from frostline.engine.packed_weights import Expand, PackedForward, PackedReport, pack_frozen
from frostline.plans import UNPACKED, AppliedPlan

BLOCK = 64
"""Weights that share a scale."""
BYTES_PER_WEIGHT = 0.5 + 4 / BLOCK
ABSMAX = "frozen_absmax"
"""Buffer of a module whose frozen matrix is held in nf4: the scales, in no state dict."""


def pack_frozen_in_nf4(applied: AppliedPlan, *, except_head: bool = True) -> PackedReport:
    """Hold the frozen matrices of `applied` in nf4, in place; see `pack_frozen`."""
    return pack_frozen(applied, _packed, except_head=except_head)


def pack(matrix: Float[Tensor, "rows columns"]) -> tuple[UInt8[Tensor, "bytes 1"], Float[Tensor, " blocks"]]:
    """Two weights a byte, and the scale of each 64."""
    packed, state = bitsandbytes().functional.quantize_4bit(matrix.contiguous(), blocksize=BLOCK, quant_type="nf4")
    return packed, state.absmax


def unpack(
    packed: UInt8[Tensor, "bytes 1"], absmax: Float[Tensor, " blocks"], dtype: torch.dtype, *, shape: torch.Size
) -> Float[Tensor, "rows columns"]:
    """The matrix of `shape` in `dtype`."""
    functional = bitsandbytes().functional
    # As one row: on a CPU blocks that go over the end of a row would get another's scale.
    row = (shape.numel(),)
    state = functional.QuantState(absmax=absmax, shape=row, dtype=dtype, blocksize=BLOCK, quant_type="nf4")
    matrix: Tensor = functional.dequantize_4bit(packed, state)
    return matrix.reshape(shape)


def _packed(module: nn.Linear | Conv1D) -> PackedForward:
    forward = _Nf4Forward(module)
    module.weight.data, absmax = pack(module.weight.detach().float())
    module.register_buffer(ABSMAX, absmax, persistent=False)
    vars(module)[UNPACKED] = forward.unpacked
    return forward


class _Nf4Forward(PackedForward):
    def __init__(self, module: nn.Linear | Conv1D) -> None:
        super().__init__(module)
        self.shape = module.weight.shape

    def parts(self) -> tuple[Tensor, ...]:
        """Pairs of weights, and scales."""
        return self.module.weight.detach(), self.module.get_buffer(ABSMAX)

    def expand(self) -> Expand:
        """The weights."""
        return partial(unpack, shape=self.shape)

    def unpacked(self) -> Tensor:
        """The matrix in fp32: what the plan's `value_of` gives."""
        return self.expand()(*self.parts(), torch.float32)
