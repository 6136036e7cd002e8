"""What does `torch.compile` gain where training happens? Each layer of the suffix is compiled on its own.

All layers run through one compiled function, so that layers of one kind share one compilation, whatever their number,
in every arm of the process; the lowest is compiled apart, since its input needs no gradient. Only training steps run
compiled code: in evaluation mode, where shapes vary, a layer is its plain self. Rounding differs from the plain
forward pass; dropout masks are the same, but for layers whose attention and MLP stand side by side before torch 2.13,
which draws theirs in another order.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import nn

from frostline.errors import RecipeError

VARIANTS = 64
"""Compilations of one kind of layer before torch gives up on it: shapes, masks, which weights train, in all arms."""


def compile_suffix(layers: Sequence[nn.Module], prefix_layers: int) -> None:
    """Compile the decoder layers from `prefix_layers` on, each at its first training step; the others not.

    Call it again when the depth changes: what was compiled stays so. Raises `RecipeError` where nothing can be
    compiled on the device of the layers.
    """
    if prefix_layers < len(layers):
        require_compiler(next(layers[-1].parameters()).device.type)
    no_compilation(layers[:prefix_layers])
    for layer in layers[prefix_layers:]:
        if "forward" not in vars(layer):
            vars(layer)["forward"] = CompiledLayer(layer)


def no_compilation(layers: Sequence[nn.Module]) -> None:
    """Let `layers` run their plain forward pass again."""
    for layer in layers:
        if isinstance(vars(layer).get("forward"), CompiledLayer):
            del vars(layer)["forward"]


class CompiledLayer:
    """The forward pass of one layer: compiled in training mode, plain in evaluation mode.

    An object and not a closure, so that a deep copy of the model has one of its own.
    """

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def __call__(self, *inputs: object, **settings: object) -> object:
        run = _compiled_forward() if self.layer.training and torch.is_grad_enabled() else _plain_forward
        return run(self.layer, *inputs, **settings)


@cache
def require_compiler(device_type: str) -> None:
    """Try to compile something small. Raises `RecipeError` where that fails: no C++ compiler, no headers, no Triton."""
    new = float(
        time.time_ns() % 1_000_003
    )  # compiled anew: from the cache of another run it would work without a compiler

    def something_small(values: torch.Tensor) -> torch.Tensor:
        return values.sin() + new

    try:
        torch.compile(something_small, dynamic=False)(torch.ones(16, device=device_type))
    except (RuntimeError, ImportError, OSError) as error:
        cause = next(line for line in [*str(error).splitlines(), type(error).__name__] if line.strip())
        raise RecipeError(
            f"nothing can be compiled on this machine ({cause.strip()}).",
            "Install a C++ compiler such as g++ with the headers of Python, or set it to false.",
        ).at("training", "compile") from error


@cache
def _compiled_forward() -> Callable[..., object]:
    limit: dict[str, int] = {}
    if "recompile_limit" in inspect.signature(torch.compile).parameters:  # not in every torch that is supported
        limit["recompile_limit"] = VARIANTS
    # Random numbers as without compilation: arms see the same dropout masks.
    compiled: Callable[..., object] = torch.compile(  # type: ignore[call-overload]  # torch's overloads lack the limit
        _plain_forward, dynamic=False, options={"fallback_random": True}, **limit
    )
    return compiled


def _plain_forward(layer: nn.Module, *inputs: object, **settings: object) -> object:
    return type(layer).forward(layer, *inputs, **settings)
