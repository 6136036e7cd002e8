"""How can part of a model be left out of its own forward pass? By letting something else answer in its place.

The model's own code goes on deciding about masks, rotary positions and kinds of attention; only the `forward` of some
of its modules is exchanged, on the instances and for a moment. Attributes that the model reads from its layers stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from frostline.plans import Forward, answering, decoder_stack, record_calls, undisturbed


class _FarEnoughError(Exception):
    """Raised inside a forward pass whose rest is not wanted."""


def body_of(model: PreTrainedModel) -> nn.Module | None:
    """The part of `model` below its head: the outermost module around its decoder layers that `model` calls."""
    path, _ = decoder_stack(model)
    names = path.split(".")[:-1]
    around = [model.get_submodule(".".join(names[: depth + 1])) for depth in range(len(names))]
    with undisturbed(model):
        called = record_calls(model, around, most=1)  # whatever is called first is around the others
    return next((module for module in around if module in called), None)


def body_output(model: PreTrainedModel, body: nn.Module, input_ids: Tensor, attention_mask: Tensor | None) -> object:
    """What `body` returns, called exactly as `model` calls it; the head does not run."""
    run = body.forward
    outputs: list[object] = []

    def run_and_stop(*args: object, **kwargs: object) -> object:
        outputs.append(run(*args, **kwargs))
        raise _FarEnoughError

    with answering({body: run_and_stop}), suppress(_FarEnoughError):
        model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
    return outputs[0]


def outputs_of_layers(
    model: PreTrainedModel,
    layers: Sequence[nn.Module],
    input_ids: Tensor,
    attention_mask: Tensor | None,
    *,
    wanted: Sequence[int],
    start: tuple[int, object] | None,
) -> dict[int, object]:
    """What layer `depth - 1` returns, for each depth in `wanted`; nothing above the deepest of them runs.

    `start`, a depth and what the layer below it returns, spares the layers below that depth.
    """
    found: dict[int, object] = {}
    answers: dict[nn.Module, Forward] = {}
    if start is not None:
        answers |= handing_out(layers[: start[0]], start[1])
    for depth in wanted:
        answers[layers[depth - 1]] = _noting(layers[depth - 1].forward, found, depth, last=depth == max(wanted))
    with answering(answers), suppress(_FarEnoughError):
        model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
    return found


def handing_out(layers: Sequence[nn.Module], output: object) -> dict[nn.Module, Forward]:
    """Answers that make every one of `layers` return `output`."""
    return {layer: lambda *args, **kwargs: output for layer in layers}


def hidden_of(output: object) -> Tensor | None:
    """The hidden state in what a layer or a model returns; None where there is none."""
    first = output[0] if isinstance(output, tuple | list | ModelOutput) else output
    return first if isinstance(first, Tensor) else None


def with_hidden(output: object, hidden: Tensor) -> object:
    """`output` with another hidden state. Whatever else it carried is made unusable, so that its use would show."""
    if isinstance(output, tuple):
        return (hidden, *(_poisoned(value) for value in output[1:]))
    return hidden


def _poisoned(value: object) -> object:
    if not isinstance(value, Tensor):
        return value
    return torch.full_like(value, math.nan if value.is_floating_point() else -1)


def _noting(run: Forward, found: dict[int, object], depth: int, *, last: bool) -> Forward:
    def run_and_note(*args: object, **kwargs: object) -> object:
        found[depth] = run(*args, **kwargs)
        if last:
            raise _FarEnoughError
        return found[depth]

    return run_and_note
