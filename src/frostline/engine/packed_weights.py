"""How does a layer compute whose frozen matrix is packed into fewer bits? The matrix is expanded anew for each product.

Products are those of the expanded matrix, in the precision of the arm, forward and backward; nothing but the packed
values is kept in between, and frozen weights get no gradient. How they are packed is `int8_weights` and `nf4_weights`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.utils import parametrize
from transformers.pytorch_utils import Conv1D

from frostline.plans import AppliedPlan

Expand = Callable[..., Tensor]
"""Makes the matrix of its parts, in the precision that comes last."""


@dataclass(frozen=True)
class PackedReport:
    """What became smaller."""

    matrices: int
    bytes_before: int
    bytes_after: int
    """Bytes of these matrices afterwards, with their scales."""
    largest_relative_error: float
    """Largest Frobenius norm of a difference over that of its matrix."""


class PackedForward(ABC):
    """The forward pass of a linear layer whose matrix is held packed, as long as it is.

    An object and not a closure, so that a deep copy of the model has one of its own.
    """

    def __init__(self, module: nn.Linear | Conv1D) -> None:
        self.module = module

    @abstractmethod
    def parts(self) -> tuple[Tensor, ...]:
        """What the matrix is held in, the packed values first."""

    @abstractmethod
    def expand(self) -> Expand:
        """What makes the matrix of `parts`."""

    def __call__(self, hidden: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        if self.module.weight.is_floating_point():
            plain: Tensor = type(self.module).forward(self.module, hidden)  # type: ignore[arg-type]  # of either class
            return plain
        device_type = hidden.device.type
        bias: Tensor | None = self.module.bias
        if torch.is_autocast_enabled(device_type):
            # What autocast would do to the operands of a product, done where autograd sees it.
            dtype = torch.get_autocast_dtype(device_type)
            hidden = hidden.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        transposed = isinstance(self.module, Conv1D)
        product: Tensor = _PackedProduct.apply(hidden, bias, self.expand(), transposed, *self.parts())  # type: ignore[no-untyped-call]
        return product


def pack_frozen(
    applied: AppliedPlan, pack: Callable[[nn.Linear | Conv1D], PackedForward], *, except_head: bool = True
) -> PackedReport:
    """Hold the matrices of linear layers that the plan never trains packed, in place, and free what they took.

    Left as they are: what trains in any phase, matrices of which a portion trains, embeddings and a head tied to them,
    the head altogether unless `except_head` is False, norms and biases, whatever is no plain `nn.Linear` or `Conv1D`.
    `MODULE.weight` stays the same parameter, now of packed values; the plan's `value_of` gives what they stand for, and
    its `verify` goes on checking that. To get the weights back, give the parameter the base model's: a layer whose
    matrix is not packed is its plain self. `pack` changes the layer that it is given.
    """
    bytes_before = bytes_after = 0
    largest = 0.0
    replaced = set()
    for name, module in _frozen_linears(applied, except_head=except_head).items():
        bytes_before += module.weight.nbytes
        matrix = module.weight.detach().float()
        forward = vars(module)["forward"] = pack(module)
        parts, expand = forward.parts(), forward.expand()
        largest = max(largest, _relative_error(matrix, expand(*parts, matrix.dtype)))
        bytes_after += sum(part.nbytes for part in parts)
        replaced.add(name)
    portions = applied.resolved.portions
    applied.frozen_replaced(portion.name for portion in portions if portion.parameter in replaced)
    return PackedReport(len(replaced), bytes_before, bytes_after, largest)


class _PackedProduct(torch.autograd.Function):
    """hidden W^T + bias (hidden W + bias where `transposed`), differentiable by hidden and bias."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, hidden: Tensor, bias: Tensor | None, expand: Expand, transposed: bool, *parts: Tensor
    ) -> Tensor:
        ctx.save_for_backward(*parts)
        ctx.expand, ctx.transposed = expand, transposed  # type: ignore[attr-defined]
        matrix = expand(*parts, hidden.dtype)
        return F.linear(hidden, matrix.t() if transposed else matrix, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, output_gradient: Tensor) -> tuple[Tensor | None, ...]:
        parts = ctx.saved_tensors  # type: ignore[attr-defined]
        needs = ctx.needs_input_grad  # type: ignore[attr-defined]
        hidden_gradient = bias_gradient = None
        # Every operand has its precision already, whatever context the caller's backward pass runs in.
        with torch.autocast(output_gradient.device.type, enabled=False):
            if needs[0]:
                matrix = ctx.expand(*parts, output_gradient.dtype)  # type: ignore[attr-defined]
                hidden_gradient = output_gradient.matmul(matrix.t() if ctx.transposed else matrix)  # type: ignore[attr-defined]
            if needs[1]:
                bias_gradient = output_gradient.flatten(0, -2).sum(0)
        return (hidden_gradient, bias_gradient, None, None, *(None for _ in parts))


def _frozen_linears(applied: AppliedPlan, *, except_head: bool) -> dict[str, nn.Linear | Conv1D]:
    """What may be packed, by the name that its matrix has in the untouched model."""
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


def _relative_error(matrix: Tensor, expanded: Tensor) -> float:
    norm = torch.linalg.vector_norm(matrix).item()
    difference = torch.linalg.vector_norm(matrix - expanded).item()
    return difference / norm if norm else 0.0
