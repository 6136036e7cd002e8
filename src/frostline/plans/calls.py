"""With what arguments do a model's modules get called? One forward pass of two tokens, watched by hooks.

The probes call single modules again, with arguments like these, so that masks, rotary positions and whatever else a
family hands to its layers stay the model's own business. Nothing of the model is changed when this is over: weights,
training mode, random state, settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from frostline.plans.still import keep_weights_still

TOKENS = 2
"""Enough for one position to look at another."""


@dataclass(frozen=True)
class Call:
    """The first call of a module."""

    order: int
    """How many of the watched modules had been called before."""
    args: tuple[object, ...]
    kwargs: dict[str, object]


class _SeenEnoughError(Exception):
    """Raised inside a forward pass whose rest is not wanted."""


def record_calls(
    model: PreTrainedModel, watched: Iterable[nn.Module], *, most: int | None = None
) -> dict[nn.Module, Call]:
    """The first call of each of `watched` in a forward pass of two tokens; modules that are not called are missing.

    The pass ends where `most` of them have been called.
    """
    calls: dict[nn.Module, Call] = {}

    def record(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        if module not in calls:
            calls[module] = Call(len(calls), tuple(map(_copied, args)), {key: _copied(kwargs[key]) for key in kwargs})
        if len(calls) == most:
            raise _SeenEnoughError

    handles = [module.register_forward_pre_hook(record, with_kwargs=True) for module in watched]
    try:
        token_ids = torch.tensor([[1, 2]], device=model.device)
        with suppress(_SeenEnoughError), torch.no_grad(), torch.autocast(model.device.type, enabled=False):
            model(input_ids=token_ids, attention_mask=torch.ones_like(token_ids), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return calls


@contextmanager
def undisturbed(model: PreTrainedModel) -> Iterator[None]:
    """Evaluation mode and plain kernels inside; training modes, settings and random states as before outside."""
    keep_weights_still(model)
    modes = [(module, module.training) for module in model.modules()]
    config = model.config.get_text_config()
    attention, experts = config._attn_implementation, getattr(config, "_experts_implementation", None)
    devices = [model.device] if model.device.type == "cuda" else []
    try:
        for module, _ in modes:
            module.training = False
        if attention not in (None, "eager", "sdpa"):
            config._attn_implementation = "eager"
        if experts is not None:
            config._experts_implementation = "eager"
        with torch.random.fork_rng(devices):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        if attention not in (None, "eager", "sdpa"):
            config._attn_implementation = attention
        if experts is not None:
            config._experts_implementation = experts


class Rerun:
    """A module that can be called again with random small weights and random hidden states, in float32.

    Linear layers get weights of standard deviation 1 / (2 sqrt(larger side)), so that no softmax or activation
    saturates; norms get 1, biases 0: a projection masked to zero then stays zero behind a norm.
    """

    def __init__(self, module: nn.Module, call: Call, hidden_size: int, device: torch.device) -> None:
        self.module = module
        self._generator = torch.Generator().manual_seed(1)
        self._device = device
        self.hidden: list[Tensor] = []
        self.args = tuple(self._prepared(value, hidden_size) for value in call.args)
        self.kwargs = {name: self._prepared(value, hidden_size) for name, value in call.kwargs.items()}
        self.weights = {name: self._weights_like(value, name) for name, value in module.named_parameters()}
        self.buffers = {
            name: value.float() if value.is_floating_point() else value for name, value in module.named_buffers()
        }

    def __call__(self, changed: Mapping[str, Tensor] | None = None) -> Tensor:
        """The module's (first) output, with some weights `changed`."""
        tensors = {**self.weights, **self.buffers, **(changed or {})}
        output: object = torch.func.functional_call(self.module, tensors, self.args, self.kwargs)
        while isinstance(output, tuple | list):
            output = output[0]
        if not isinstance(output, Tensor):
            raise TypeError(f"{type(self.module).__name__} returns no tensor")
        return output

    def random(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal values from this rerun's own generator."""
        return torch.randn(shape, generator=self._generator).to(self._device)

    def _weights_like(self, parameter: Tensor, name: str) -> Tensor:
        shape = tuple(parameter.shape)
        if len(shape) < 2:
            fill = 1.0 if name.endswith("weight") else 0.0
            return torch.full(shape, fill, device=self._device)
        if name.endswith("bias"):
            return torch.zeros(shape, device=self._device)
        return self.random(shape).mul_(0.5 / math.sqrt(max(shape[-2:])))

    def _prepared(self, value: object, hidden_size: int) -> object:
        if isinstance(value, Tensor) and value.is_floating_point():
            if value.ndim in (2, 3) and value.shape[-1] == hidden_size:
                fresh = self.random(tuple(value.shape)).requires_grad_()
                self.hidden.append(fresh)
                return fresh
            return value.float()
        return _map_nested(value, lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)


def _copied(value: object) -> object:
    return _map_nested(value, lambda tensor: tensor.detach().clone())


def _map_nested(value: object, change: Callable[[Tensor], Tensor]) -> object:
    """`change` applied to every tensor in nested tuples, lists and dictionaries; anything else as it is."""
    if isinstance(value, Tensor):
        return change(value)
    if type(value) in (tuple, list):
        items = [_map_nested(item, change) for item in value]  # type: ignore[attr-defined]  # narrowed by type() above
        return tuple(items) if isinstance(value, tuple) else items
    if type(value) is dict:
        return {key: _map_nested(item, change) for key, item in value.items()}
    return value
