"""How can a large frozen model fit? By keeping its frozen matrices in int8. Inexact: the user asks for it.

Each row of outputs has one scale, its largest absolute value / 127, and each weight is rounded to a multiple of it
(absmax quantisation as in Dettmers et al. 2022, LLM.int8(), arXiv:2208.07339, section 2; products are computed in the
precision of the arm, and no features are treated apart).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from frostline.engine.packed_weights import Expand, PackedForward, PackedReport, pack_frozen
from frostline.plans import FROZEN_SCALE, AppliedPlan, feature_dimension

LARGEST = 127
"""Largest of the 8-bit values; -128 is left out, so that the range is symmetric."""


def quantise_frozen(applied: AppliedPlan, *, except_head: bool = True) -> PackedReport:
    """Hold the frozen matrices of `applied` in int8, in place; see `pack_frozen`.

    A buffer of scales (in no state dict) goes with each: the plan's `value_of` gives their product.
    """
    return pack_frozen(applied, _quantised, except_head=except_head)


def quantise(
    matrix: Float[Tensor, "rows columns"], feature_dimension: int
) -> tuple[Int8[Tensor, "rows columns"], Float[Tensor, "row_scales column_scales"]]:
    """Values in -127 ... 127 and scales, one for each output feature: their product is nearly `matrix`.

    Scales are [outputs, 1] where `feature_dimension` is 0, [1, outputs] where it is 1; rounded to bf16, so that they
    are the same in either precision, and held in fp32.
    """
    largest = matrix.abs().amax(1 - feature_dimension, keepdim=True).float()
    scale = (largest / LARGEST).to(torch.bfloat16).float()
    values = (matrix / torch.where(scale == 0, 1, scale)).round_().clamp_(-LARGEST, LARGEST)
    return values.to(torch.int8), scale


def dequantise(
    values: Int8[Tensor, "rows columns"], scale: Float[Tensor, "row_scales column_scales"], dtype: torch.dtype
) -> Float[Tensor, "rows columns"]:
    """The matrix in `dtype`: both factors are exact in bf16 and fp32, their product is rounded once."""
    return values.to(dtype).mul_(scale.to(dtype))


def _quantised(module: nn.Linear | Conv1D) -> PackedForward:
    values, scale = quantise(module.weight.detach().float(), feature_dimension(module))
    module.weight.data = values
    module.register_buffer(FROZEN_SCALE, scale, persistent=False)
    return _Int8Forward(module)


class _Int8Forward(PackedForward):
    def parts(self) -> tuple[Tensor, ...]:
        """Values and scales."""
        return self.module.weight.detach(), self.module.get_buffer(FROZEN_SCALE)

    def expand(self) -> Expand:
        """Their product."""
        return dequantise
