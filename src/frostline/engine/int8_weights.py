"""How can a large frozen model fit? By keeping its frozen matrices in int8. Inexact: the user asks for it.

Each row of outputs has one scale, its largest absolute value / 127, and each weight is rounded to a multiple of it
(absmax quantisation as in Dettmers et al. 2022, LLM.int8(), arXiv:2208.07339, section 2; products are computed in the
precision of the arm, and no features are treated apart). The matrix is expanded anew for each product, forward and
backward: nothing but the int8 values is kept, and frozen weights get no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int8
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.utils import parametrize
from transformers.pytorch_utils import Conv1D

from frostline.plans import FROZEN_SCALE, AppliedPlan, feature_dimension

LARGEST = 127
"""Largest of the 8-bit values; -128 is left out, so that the range is symmetric."""


@dataclass(frozen=True)
class Int8Report:
    """What became smaller."""

    matrices: int
    bytes_before: int
    bytes_after: int
    """Bytes of these matrices afterwards, with their scales."""
    largest_relative_error: float
    """Largest Frobenius norm of a difference over that of its matrix."""


def quantise_frozen(applied: AppliedPlan, *, except_head: bool = True) -> Int8Report:
    """Hold the matrices of linear layers that the plan never trains in int8, in place, and free what they took.

    Left as they are: what trains in any phase, matrices of which a portion trains, embeddings and a head tied to them,
    the head altogether unless `except_head` is False, norms and biases, whatever is no plain `nn.Linear` or `Conv1D`.
    `MODULE.weight` stays the same parameter, now of int8 values, which a buffer of scales (in no state dict) goes with;
    the plan's `value_of` gives their product, and its `verify` goes on checking that. To get the weights back, give
    the parameter the base model's: a layer whose matrix is not int8 is its plain self.
    """
    matrices = bytes_before = bytes_after = 0
    largest = 0.0
    replaced = []
    for name, module in _frozen_linears(applied, except_head=except_head).items():
        weight = module.weight
        bytes_before += weight.nbytes
        matrix = weight.detach().float()
        values, scale = quantise(matrix, feature_dimension(module))
        largest = max(largest, _relative_error(matrix, values, scale))
        weight.data = values
        module.register_buffer(FROZEN_SCALE, scale, persistent=False)
        vars(module)["forward"] = _Int8Forward(module)
        bytes_after += values.nbytes + scale.nbytes
        matrices += 1
        replaced.append(name)
    portions = applied.resolved.portions
    applied.frozen_replaced(portion.name for portion in portions if portion.parameter in set(replaced))
    return Int8Report(matrices, bytes_before, bytes_after, largest)


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


class _Int8Forward:
    """The forward pass of a linear layer whose matrix is held in int8.

    An object and not a closure, so that a deep copy of the model has one of its own.
    """

    def __init__(self, module: nn.Linear | Conv1D) -> None:
        self.module = module

    def __call__(self, hidden: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        values = self.module.weight.detach()
        if values.dtype != torch.int8:
            plain: Tensor = type(self.module).forward(self.module, hidden)  # type: ignore[arg-type]  # of either class
            return plain
        device_type = hidden.device.type
        bias: Tensor | None = self.module.bias
        if torch.is_autocast_enabled(device_type):
            # What autocast would do to the operands of a product, done where autograd sees it.
            dtype = torch.get_autocast_dtype(device_type)
            hidden = hidden.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        scale = self.module.get_buffer(FROZEN_SCALE)
        product: Tensor = _Int8Product.apply(hidden, bias, values, scale, isinstance(self.module, Conv1D))  # type: ignore[no-untyped-call]
        return product


class _Int8Product(torch.autograd.Function):
    """hidden W^T + bias (hidden W + bias where `transposed`), differentiable by hidden and bias."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, hidden: Tensor, bias: Tensor | None, values: Tensor, scale: Tensor, transposed: bool
    ) -> Tensor:
        ctx.save_for_backward(values, scale)
        ctx.transposed = transposed  # type: ignore[attr-defined]
        matrix = dequantise(values, scale, hidden.dtype)
        return F.linear(hidden, matrix.t() if transposed else matrix, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, output_gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, scale = ctx.saved_tensors  # type: ignore[attr-defined]
        needs = ctx.needs_input_grad  # type: ignore[attr-defined]
        hidden_gradient = bias_gradient = None
        # Every operand has its precision already, whatever context the caller's backward pass runs in.
        with torch.autocast(output_gradient.device.type, enabled=False):
            if needs[0]:
                matrix = dequantise(values, scale, output_gradient.dtype)
                hidden_gradient = output_gradient.matmul(matrix.t() if ctx.transposed else matrix)  # type: ignore[attr-defined]
            if needs[1]:
                bias_gradient = output_gradient.flatten(0, -2).sum(0)
        return hidden_gradient, bias_gradient, None, None, None


def _frozen_linears(applied: AppliedPlan, *, except_head: bool) -> dict[str, nn.Linear | Conv1D]:
    """What may be quantised, by the name that its matrix has in the untouched model."""
    resolved = applied.resolved
    ever = frozenset().union(*(phase.trained for phase in resolved.phases))
    trained = {portion.parameter for portion in resolved.portions if portion.name in ever}
    kept = {name for group in resolved.tied for name in group} | trained
    if except_head and resolved.map.head_name is not None:
        kept.add(resolved.map.head_name)
    frozen = {portion.parameter for portion in resolved.portions} - kept
    found: dict[str, nn.Linear | Conv1D] = {}
    for path, module in applied.model.named_modules():
        # An adapted matrix stands one level below its adapter, whose own matrices are no portions.
        name = f"{path.removesuffix('.base_layer')}.weight"
        plain = type(module).forward in (nn.Linear.forward, Conv1D.forward) and not parametrize.is_parametrized(module)
        if name in frozen and plain:
            assert isinstance(module, nn.Linear | Conv1D)
            found[name] = module
    return found


def _relative_error(matrix: Tensor, values: Tensor, scale: Tensor) -> float:
    norm = torch.linalg.vector_norm(matrix).item()
    difference = torch.linalg.vector_norm(matrix - dequantise(values, scale, matrix.dtype)).item()
    return difference / norm if norm else 0.0
