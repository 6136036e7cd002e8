"""What is the loss, without ever holding the logits? Head and cross-entropy a few tokens at a time.

The logits of a step are its largest tensor: [2048, 49152] in fp32 are 400 MB, held three times by a plain loss. Here
the forward pass computes the logits of a chunk, its loss and at once the gradient of its hidden states, and forgets
them; a head that trains gets its own gradient in the same pass. What is kept is [tokens, hidden]. The arithmetic of
each token is that of the plain loss; only the sum over tokens is taken in another order.
Other implementations that were compared with this one, by `bench/head.py`: `torch.nn.functional.linear_cross_entropy`,
Liger and cut-cross-entropy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from frostline.corpus import NOT_COUNTED

CHUNK_BYTES = {"cpu": 48 << 20, "cuda": 512 << 20}
"""Logits in fp32 at once: few enough for the cache of a processor, enough for an efficient product."""
WEIGHT_BLOCK_BYTES = 256 << 20
"""Gradients of logits kept for one product with the hidden states, where the head trains."""


def chunked_loss(
    hidden: Float[Tensor, "tokens hidden"],
    weight: Float[Tensor, "vocabulary hidden"],
    bias: Float[Tensor, " vocabulary"] | None,
    labels: Int[Tensor, " tokens"],
    scale: float,
) -> Float[Tensor, ""]:
    """`scale` times the sum over tokens of -log softmax(hidden weight^T + bias)[label], in nats.

    Products are computed in the precision of `hidden`, the softmax in fp32. Differentiable with respect to `hidden`,
    `weight` and `bias`; what needs no gradient gets none. A label is a token, or `NOT_COUNTED`.
    """
    loss: Tensor = _LinearHeadLoss.apply(hidden, weight, bias, labels, scale)  # type: ignore[no-untyped-call]
    return loss


def own_head_loss(
    head: Callable[[Tensor], Tensor],
    parameters: Sequence[nn.Parameter],
    hidden: Float[Tensor, "tokens hidden"],
    labels: Int[Tensor, " tokens"],
    scale: float,
    vocabulary: int,
) -> Float[Tensor, ""]:
    """The same for a head that is more than one product (soft caps, scales): `head` gives its logits.

    `head` maps [tokens, hidden] to [tokens, vocabulary]; `parameters` are those of its own that train.
    """
    loss: Tensor = _OwnHeadLoss.apply(head, labels, scale, vocabulary, hidden, *parameters)  # type: ignore[no-untyped-call]
    return loss


def chunk_tokens(vocabulary: int, device: torch.device) -> int:
    """Tokens whose logits are computed at once."""
    return max(1, CHUNK_BYTES.get(device.type, CHUNK_BYTES["cpu"]) // (4 * vocabulary))


class _LinearHeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, scale: float
    ) -> Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]  # type: ignore[attr-defined]
        cast_weight = weight.to(hidden.dtype)
        cast_bias = None if bias is None else bias.to(hidden.dtype)
        vocabulary = weight.shape[0]
        chunk = chunk_tokens(vocabulary, hidden.device)
        block = chunk * max(1, WEIGHT_BLOCK_BYTES // (hidden.element_size() * vocabulary * chunk))
        losses = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
        hidden_gradient = torch.empty_like(hidden) if needs_hidden else None
        weight_gradient = torch.zeros_like(weight) if needs_weight else None
        bias_gradient = torch.zeros_like(bias) if needs_bias and bias is not None else None
        kept: list[Tensor] = []

        for start in range(0, len(labels), chunk):
            rows = slice(start, start + chunk)
            with torch.enable_grad():
                logits = F.linear(hidden[rows], cast_weight, cast_bias).detach().float().requires_grad_()
                loss = F.cross_entropy(logits, labels[rows], reduction="none", ignore_index=NOT_COUNTED)
            losses[rows] = loss.detach()
            (gradient,) = torch.autograd.grad(loss, logits, loss.new_full(loss.shape, scale))
            cast_gradient = gradient.to(hidden.dtype)
            if hidden_gradient is not None:
                torch.mm(cast_gradient, cast_weight, out=hidden_gradient[rows])
            if bias_gradient is not None:
                bias_gradient += cast_gradient.sum(0)
            if weight_gradient is not None:
                kept.append(cast_gradient)
                if rows.stop >= len(labels) or rows.stop % block == 0:
                    first = start + chunk - chunk * len(kept)
                    weight_gradient += torch.cat(kept).t() @ hidden[first : rows.stop]
                    kept.clear()
        ctx.save_for_backward(hidden_gradient, weight_gradient, bias_gradient)  # type: ignore[arg-type]  # takes None
        return losses.sum() * scale

    @staticmethod
    def backward(ctx: FunctionCtx, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradients: tuple[Tensor | None, ...] = ctx.saved_tensors  # type: ignore[attr-defined]
        return (*(None if gradient is None else gradient.mul_(outputs[0]) for gradient in gradients), None, None)


class _OwnHeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        head: Callable[[Tensor], Tensor],
        labels: Tensor,
        scale: float,
        vocabulary: int,
        hidden: Tensor,
        *parameters: nn.Parameter,
    ) -> Tensor:
        chunk = chunk_tokens(vocabulary, hidden.device)
        total = torch.zeros((), device=hidden.device)
        hidden_gradient = torch.empty_like(hidden)
        gradients = [torch.zeros_like(parameter) for parameter in parameters]
        for start in range(0, len(labels), chunk):
            rows = slice(start, start + chunk)
            with torch.enable_grad():
                part = hidden[rows].detach().requires_grad_()
                loss = (
                    F.cross_entropy(head(part).float(), labels[rows], reduction="sum", ignore_index=NOT_COUNTED) * scale
                )
            found = torch.autograd.grad(loss, [part, *parameters], allow_unused=True)
            hidden_gradient[rows] = found[0]
            for gradient, more in zip(gradients, found[1:], strict=True):
                if more is not None:
                    gradient += more
            total += loss.detach()
        ctx.save_for_backward(hidden_gradient, *gradients)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradients: tuple[Tensor, ...] = ctx.saved_tensors  # type: ignore[attr-defined]
        return (None, None, None, None, *(gradient.mul_(outputs[0]) for gradient in gradients))
