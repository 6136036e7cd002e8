"""What do the rows of a head take that were left out of a cut model? Its product, timed by itself on some of them.

A difference between two models of few rows would be drawn out a thousandfold, and its noise with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from frostline.arms import FEW_ROWS, FP32_BYTES, Prepared, vocabulary_of
from frostline.engine import chunked_loss, synchronize, trained_parameters
from frostline.storage import let_go_of

TOKENS = 128
ROUNDS = 3


@dataclass(frozen=True)
class HeadCost:
    """What is added by the rows beyond those of a cut model."""

    token_seconds: float
    """Of a token in a step: logits, loss and gradients."""
    forward_seconds: float
    """Of a token that is only read."""
    pass_seconds: float
    """Of a pass whatever its tokens: a 16-bit head that is cast up, and its gradient where it trains."""
    saved_bytes: int
    """Gradient of a head that trains, which its loss keeps."""


NOTHING_MORE = HeadCost(0.0, 0.0, 0.0, 0)


def head_cost(prepared: Prepared, name: str | None, rows: int | None) -> HeadCost:
    """The cost for the arm `name` (None: for a model that is only read), whose cut models have so many `rows`."""
    if rows is None:
        return NOTHING_MORE
    head = prepared.model.get_output_embeddings()
    trains = name is not None and _trains(prepared, name, head.weight)
    dtype = torch.bfloat16 if prepared.precision == "bf16" else torch.float32
    some = head.weight.detach()[:FEW_ROWS].to(prepared.device)
    matrix = some.to(dtype, copy=True).requires_grad_(trains)
    hidden = torch.randn((TOKENS, some.shape[1]), device=prepared.device).to(dtype).requires_grad_()
    labels = torch.arange(TOKENS, device=prepared.device) % len(some)

    def step() -> None:
        chunked_loss(hidden, matrix, None, labels, 1.0).backward()
        hidden.grad = matrix.grad = None

    def read() -> None:
        with torch.no_grad():
            torch.nn.functional.linear(hidden, matrix)

    more = (vocabulary_of(prepared.model) - rows) / len(some)
    copied = some.dtype != dtype or trains
    once = _least_seconds(lambda: some.to(dtype, copy=True), prepared.device) if copied else 0.0
    found = HeadCost(
        token_seconds=more * _least_seconds(step, prepared.device) / TOKENS,
        forward_seconds=more * _least_seconds(read, prepared.device) / TOKENS,
        pass_seconds=more * once,
        saved_bytes=round(more * some.numel()) * FP32_BYTES if trains else 0,
    )
    let_go_of(prepared.model.parameters())
    return found


def _trains(prepared: Prepared, name: str, weight: torch.Tensor) -> bool:
    ever = trained_parameters(prepared.arms[name].resolved)
    return any(own is weight for known, own in prepared.model.named_parameters() if known in ever)


def _least_seconds(work: Callable[[], object], device: torch.device) -> float:
    seconds = []
    for _ in range(1 + ROUNDS):
        synchronize(device)
        started = time.perf_counter()
        work()
        synchronize(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)
