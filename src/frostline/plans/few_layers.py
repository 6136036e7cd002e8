"""How is something asked of a model of many layers? By those alone that differ: one that does as another is left out.

A layer of the same modules, sizes and settings as one below it runs the same code. Where the question is what that
code does (is the model causal, may its head be run apart, does a layer hand on more than one hidden state), the first
of each kind answers for the others, and a model that no memory holds need not be read for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from transformers import PreTrainedModel

from frostline.plans.stack import decoder_stack

Forward = Callable[..., object]

_PLACE = re.compile(r"(layer|block)_?(idx|id|index|number|num)$|^idx$")
"""Names under which a module keeps the number of its layer."""


@contextmanager
def answering(answers: dict[nn.Module, Forward]) -> Iterator[None]:
    """Inside, each module answers with the given function instead of its own `forward`."""
    own = {module: vars(module).get("forward") for module in answers}
    try:
        for module, answer in answers.items():
            module.forward = answer
        yield
    finally:
        for module, before in own.items():
            if before is None:
                vars(module).pop("forward", None)
            else:
                module.forward = before


def layer_kinds(model: PreTrainedModel) -> list[str]:
    """Of each decoder layer what decides which code it runs: its modules, their settings, what config.json calls it."""
    _, layers = decoder_stack(model)
    types = getattr(model.config.get_text_config(), "layer_types", None)
    called = types if isinstance(types, list) and len(types) == len(layers) else [""] * len(layers)
    return [f"{kind} {layer!r} {_shapes(layer)} {_settings(layer)}" for kind, layer in zip(called, layers, strict=True)]


@contextmanager
def few_layers(model: PreTrainedModel, kept: Collection[int] = (), *, wanted: bool = True) -> Iterator[list[int]]:
    """Inside, only the first layer of each kind runs, and those numbered in `kept`; gives the numbers of both.

    The others hand on the hidden state that they are given. One that is given none, or of which nothing like it comes
    back, runs after all. Where it is not `wanted`, all run.
    """
    _, layers = decoder_stack(model)
    if not wanted:
        yield list(range(len(layers)))
        return
    kinds = layer_kinds(model)
    running = [index for index, kind in enumerate(kinds) if index in kept or kind not in kinds[:index]]
    returned: dict[str, object] = {}

    def run_and_note(run: Forward, kind: str) -> Forward:
        def answer(*args: object, **kwargs: object) -> object:
            returned[kind] = run(*args, **kwargs)
            return returned[kind]

        return answer

    def hand_on(run: Forward, kind: str) -> Forward:
        def answer(*args: object, **kwargs: object) -> object:
            given, like = args[0] if args else kwargs.get("hidden_states"), returned.get(kind)
            first = like[0] if isinstance(like, tuple) and like else like
            if not isinstance(given, Tensor) or not isinstance(first, Tensor) or given.shape[-1] != first.shape[-1]:
                return run(*args, **kwargs)
            return (given, *like[1:]) if isinstance(like, tuple) else given

        return answer

    answers = {
        layer: (run_and_note if index in running else hand_on)(layer.forward, kinds[index])
        for index, layer in enumerate(layers)
    }
    with answering(answers):
        yield running


def is_place_in_stack(name: str) -> bool:
    """Whether a module's attribute of this name is the number of its layer, under which keys and values are cached."""
    return _PLACE.search(name) is not None


def _shapes(layer: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(value.shape)) for name, value in layer.named_parameters()]


def _settings(layer: nn.Module) -> list[tuple[str, str, object]]:
    """Numbers and words that the modules of `layer` were made with, but for the place of the layer."""
    return [
        (path, name, value)
        for path, module in layer.named_modules()
        for name, value in sorted(vars(module).items())
        if isinstance(value, int | float | str) and name != "training" and not is_place_in_stack(name)
    ]
