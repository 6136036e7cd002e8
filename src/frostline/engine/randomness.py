"""What draws random numbers while a model trains? Found by looking at the model, set, or named in a sentence.

Families call their dropout rates what they like (`resid_pdrop`, `hidden_dropout_prob`, `attn_config.attn_pdrop`), drop
whole layers (`layerdrop`) and shake their routers (`router_jitter_noise`). Rates stand in the configuration, from which
modules are made, and in the modules, from which they are read: both are set. What is left is found by running the
model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping
from typing import TypeGuard

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from frostline.engine.device import random_devices
from frostline.errors import ModelError

_DROPOUT = re.compile(r"drop")
_OF_LAYERS = re.compile(r"layer_?drop|drop_?path|stochastic_?depth")
_NOISE = re.compile(r"jitter|noise")
SAMPLE_TOKENS = 16
TRIES = 8
"""Passes with different random numbers that must agree: one that drops a tenth of something rarely does so in all."""


def set_dropout(config: PretrainedConfig, rate: float) -> None:
    """Set every dropout rate in `config` and in the configurations within it; see `set_randomness`.

    One that may only be a whole number (transformers checks that) stays where `rate` is none.
    """
    for values in _nested(config):
        whole = {name: value for name, value in values.items() if isinstance(value, int)}
        _set_rates(values, rate)
        for name, value in whole.items():
            values[name] = int(rate) if values[name] is not value and rate.is_integer() else value


def set_randomness(model: PreTrainedModel, rate: float) -> None:
    """Set every dropout rate of `model` to `rate`.

    Layers are dropped at that rate where the model drops any; noise is switched off where `rate` is 0. Raises
    `ModelError`, naming a module, where training would still draw random numbers although `rate` is 0.
    """
    set_dropout(model.config, rate)
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = rate
        else:
            _set_rates(vars(module), rate)
    if rate == 0 and (name := random_module(model)) is not None:
        raise ModelError(
            f"training.dropout is 0, and '{name}' of this model draws random numbers in training all the same.",
            "Leave training.dropout out, so that the model's own settings hold.",
        ).at("training", "dropout")


def draws(module: nn.Module) -> bool:
    """Whether a module of its own is set to draw random numbers in training: dropout, layer drop, router noise."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    return any(
        _is_rate(value) and value > 0 and (_DROPOUT.search(name) or _NOISE.search(name))
        for name, value in vars(module).items()
    )


def drops_layers(model: PreTrainedModel) -> bool:
    """Whether some passes of `model` in training leave whole layers out."""
    return any(
        _is_rate(value) and value > 0 and _OF_LAYERS.search(name)
        for module in model.modules()
        for name, value in vars(module).items()
    )


def random_module(model: PreTrainedModel) -> str | None:
    """Name of a module whose random numbers change what `model` gives in training; None where none does.

    The innermost one that draws any, or the class of the model.
    """
    modes = [(module, module.training) for module in model.modules()]
    drawing: list[str] = []
    states: dict[nn.Module, Tensor] = {}

    def before(module: nn.Module, arguments: object) -> None:
        states[module] = torch.get_rng_state()

    def after(module: nn.Module, arguments: object, output: object) -> None:
        if not torch.equal(states.pop(module), torch.get_rng_state()):
            drawing.append(names[module])

    names = {module: name for name, module in model.named_modules()}
    # Not 0, which often is padding and embedded as zeros, of which nothing can be dropped.
    tokens = torch.arange(1, 1 + SAMPLE_TOKENS, device=model.device).unsqueeze(0)
    with torch.random.fork_rng(devices=random_devices(model.device)), torch.no_grad():
        hooks = [module.register_forward_pre_hook(before) for module in names]
        hooks += [module.register_forward_hook(after) for module in names]
        try:
            model.train()
            outputs = []
            for seed in range(TRIES):
                torch.manual_seed(seed)
                outputs.append(model(input_ids=tokens, use_cache=False).logits)
                if not drawing:
                    return None
        finally:
            for hook in hooks:
                hook.remove()
            for module, mode in modes:
                module.training = mode
    if all(torch.equal(output, outputs[0]) for output in outputs):
        return None
    return drawing[0] or type(model).__name__


def _set_rates(values: MutableMapping[str, object], rate: float) -> None:
    for name, value in values.items():
        if not _is_rate(value):
            continue
        if _OF_LAYERS.search(name):
            if value > 0:
                values[name] = rate
        elif _DROPOUT.search(name):
            values[name] = rate
        elif _NOISE.search(name) and rate == 0:
            values[name] = 0.0


def _nested(config: PretrainedConfig) -> Iterator[MutableMapping[str, object]]:
    """The values of a configuration, and of those within it, by name."""
    yield vars(config)
    for value in vars(config).values():
        if isinstance(value, PretrainedConfig):
            yield from _nested(value)
        elif isinstance(value, dict) and all(isinstance(name, str) for name in value):
            yield value


def _is_rate(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
