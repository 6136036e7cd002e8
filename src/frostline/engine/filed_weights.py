"""How does a matrix that its file holds in 16 bits compute as if it were fp32? It is cast up where it is used.

Every value of a bf16 or fp16 file is an fp32 number as well: to hold it in fp32 takes twice the memory and says nothing
more. The matrices of linear layers and embeddings stay as the file has them (mapped, on the CPU: pages that nothing
uses cost no memory). In fp32 arithmetic a product casts its matrix up, forward and backward, and forgets the copy; with
bf16 arithmetic autocast does what it does to an fp32 matrix, from fewer bytes. What an embedding hands out is fp32. The
bits are those of a model in fp32; `loading` compares them, layer by layer, before anything relies on it.
"""

from __future__ import annotations

import inspect
import mmap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.utils import parametrize
from transformers.pytorch_utils import Conv1D

FILED_TYPES = (torch.bfloat16, torch.float16)
"""Types of a file whose values fp32 holds exactly, in half the memory."""
LARGE_COPY_BYTES = 1 << 28


def may_stay_as_filed(module: nn.Module) -> bool:
    """Whether the matrix of `module` is used by its own forward pass alone, as far as its class tells."""
    if isinstance(module, nn.Embedding):
        # With a largest norm it writes into the matrix; with more arguments than ids, places may be counted first.
        return module.max_norm is None and len(inspect.signature(type(module).forward).parameters) == 2
    return type(module) in (nn.Linear, Conv1D) and not parametrize.is_parametrized(module)


def cast_up_in_use(model: nn.Module) -> int:
    """Let every matrix of `model` that is held as its file has it be cast up where it is used; how many there are."""
    found = 0
    for module in model.modules():
        if may_stay_as_filed(module) and module.get_parameter("weight").dtype in FILED_TYPES:
            vars(module)["forward"] = CastUp(module)
            found += 1
    return found


def wider_copy(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """`matrix` in `dtype`, for a moment: memory of a large copy goes back to the system with it.

    A head's copy is the largest block of a step; kept by the allocator, it would lie in pieces at the next one.
    """
    size = matrix.numel() * dtype.itemsize
    if matrix.device.type != "cpu" or size < LARGE_COPY_BYTES or matrix.dtype == dtype:
        return matrix.to(dtype)
    return torch.frombuffer(mmap.mmap(-1, size), dtype=dtype).view(matrix.shape).copy_(matrix)


def is_cast_up_in_use(module: nn.Module) -> bool:
    """Whether the matrix of `module` may be held as its file has it."""
    return isinstance(vars(module).get("forward"), CastUp)


def cast_up(parameters: Iterable[nn.Parameter]) -> None:
    """Hold those of `parameters` that are 16-bit in fp32 from now on, the same values."""
    for parameter in parameters:
        if parameter.dtype in FILED_TYPES:
            parameter.data = parameter.data.float()


@contextmanager
def held_in_fp32(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """In the block `parameters` are held in fp32; then each is what it was.

    For many passes through a part of a model, whose matrices are then cast up once, and for gradients in fp32.
    """
    filed = [(parameter, parameter.data) for parameter in parameters if parameter.dtype in FILED_TYPES]
    try:
        for parameter, own in filed:
            parameter.data = wider_copy(own, torch.float32)
        yield
    finally:
        for parameter, own in filed:
            parameter.data = own


class CastUp:
    """The forward pass of one layer whose matrix may be held in 16 bits; with an fp32 matrix it is the plain one.

    An object and not a closure, so that a deep copy of the model has one of its own.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, given: Tensor) -> Tensor:
        module = self.module
        weight: object = module.weight  # of a split matrix: all its parts, joined
        assert isinstance(weight, Tensor)
        plain = type(module).forward
        if weight.dtype not in FILED_TYPES:
            output: Tensor = plain(module, given)
        elif isinstance(module, nn.Embedding):
            output = _embedded(module, given, weight)
        elif torch.is_autocast_enabled(given.device.type):
            output = plain(module, given)
        else:
            output = _CastUpProduct.apply(given, weight, module.bias, isinstance(module, Conv1D))  # type: ignore[no-untyped-call]
        return output


def _embedded(module: nn.Embedding, ids: Tensor, weight: Tensor) -> Tensor:
    """What `module` makes of `ids` where its matrix is fp32, of which only the rows that are asked for are made.

    Families scale what they look up, in the type of the matrix: their forward pass sees these rows as all there are.
    """
    if type(module).forward is nn.Embedding.forward:
        return nn.Embedding.forward(module, ids).float()
    asked, places = torch.unique(ids, return_inverse=True)
    rows = nn.Parameter(weight.detach()[asked].float(), requires_grad=False)
    whole, padding = module._parameters["weight"], module.padding_idx
    try:
        module._parameters["weight"], module.padding_idx = rows, None
        output: Tensor = type(module).forward(module, places)
    finally:
        module._parameters["weight"], module.padding_idx = whole, padding
    return output


def linear_product(hidden: Tensor, matrix: Tensor, bias: Tensor | None, *, transposed: bool) -> Tensor:
    """What `nn.Linear` computes, or `Conv1D` where `transposed`: by the same kernels, so with the same bits."""
    if not transposed:
        return F.linear(hidden, matrix, bias)
    assert bias is not None  # Conv1D always has one
    return torch.addmm(bias, hidden.view(-1, hidden.shape[-1]), matrix).view(*hidden.shape[:-1], matrix.shape[1])


class _CastUpProduct(torch.autograd.Function):
    """hidden W^T + bias (hidden W + bias where `transposed`) with W cast to fp32; differentiable by all three."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, hidden: Float[Tensor, "*batch inputs"], weight: Tensor, bias: Tensor | None, transposed: bool
    ) -> Float[Tensor, "*batch outputs"]:
        ctx.save_for_backward(weight, *([hidden] if ctx.needs_input_grad[1] else []))  # type: ignore[attr-defined]
        ctx.transposed = transposed  # type: ignore[attr-defined]
        return linear_product(hidden, wider_copy(weight, hidden.dtype), bias, transposed=transposed)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, output_gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, *rest = ctx.saved_tensors  # type: ignore[attr-defined]
        transposed, needs = ctx.transposed, ctx.needs_input_grad  # type: ignore[attr-defined]
        rows = output_gradient.reshape(-1, output_gradient.shape[-1])
        hidden_gradient = weight_gradient = bias_gradient = None
        with torch.autocast(rows.device.type, enabled=False):
            if needs[0]:
                matrix = wider_copy(weight, rows.dtype)
                flat = rows.mm(matrix.t() if transposed else matrix)
                hidden_gradient = flat.view(*output_gradient.shape[:-1], flat.shape[-1])
            if needs[1]:
                flat_hidden = rest[0].reshape(-1, rest[0].shape[-1])
                gradient = flat_hidden.t().mm(rows) if transposed else rows.t().mm(flat_hidden)
                weight_gradient = gradient.to(weight.dtype)
            if needs[2]:
                bias_gradient = rows.sum(0)
        return hidden_gradient, weight_gradient, bias_gradient, None
