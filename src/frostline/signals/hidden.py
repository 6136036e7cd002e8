"""What does each layer carry? The hidden states between the layers, as the model itself computes them.

Also how one layer is asked to do nothing, and what the model then says: its own code goes on deciding about masks,
positions and kinds of attention (`engine.stand_in`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from frostline.corpus import Batch
from frostline.engine import handing_out, hidden_of, to_device, with_hidden
from frostline.errors import ModelError
from frostline.measures import next_token_losses
from frostline.plans import Forward, answering, decoder_stack

States = list[Tensor]
"""[batch, sequence, hidden] before the first layer, and after each one: as many as layers, and one."""


@dataclass(frozen=True)
class Inside:
    """A model whose layers can be looked at and passed over; inside `untouched_forward` only."""

    model: PreTrainedModel
    layers: Sequence[nn.Module]
    device: torch.device
    precision: str
    examples: dict[int, object]
    """What each layer returned once: the kind of output that the model's loop over its layers expects of it."""


def look_inside(model: PreTrainedModel, *, device: torch.device, precision: str) -> Inside:
    """`model`, ready to be looked at."""
    _, layers = decoder_stack(model)
    return Inside(model, layers, device, precision, {})


def states_of(inside: Inside, batch: Batch) -> tuple[States, Tensor]:
    """The hidden states of one forward pass, and its logits [batch, sequence, vocabulary].

    Raises `ModelError` where the layers do not hand one hidden state from one to the next.
    """
    before: list[Tensor] = []
    after: dict[int, Tensor] = {}

    def note_input(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        hidden = args[0] if args else kwargs.get("hidden_states")
        if isinstance(hidden, Tensor):
            before.append(hidden)

    def noting(index: int, run: Forward) -> Forward:
        def run_and_note(*args: object, **kwargs: object) -> object:
            output = run(*args, **kwargs)
            inside.examples[index] = output
            hidden = hidden_of(output)
            if hidden is not None:
                after[index] = hidden
            return output

        return run_and_note

    handle = inside.layers[0].register_forward_pre_hook(note_input, with_kwargs=True)
    try:
        with answering({layer: noting(index, layer.forward) for index, layer in enumerate(inside.layers)}):
            logits = logits_of(inside, batch)
    finally:
        handle.remove()
    states = [*before, *(after[index] for index in sorted(after))]
    if len(states) != len(inside.layers) + 1 or len({state.shape for state in states}) != 1:
        raise ModelError(
            f"{type(inside.model).__name__}: its layers do not pass one hidden state from one to the next, "
            "so that none can be looked at or skipped alone.",
            "Signals of matrices (gradient-norm, gradient-weight, fisher, snr) work on it all the same.",
        )
    return states, logits


def logits_of(inside: Inside, batch: Batch) -> Tensor:
    """[batch, sequence, vocabulary] of the model as it stands."""
    input_ids, _, mask = to_device(batch, inside.device)
    logits: object = inside.model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
    assert isinstance(logits, Tensor)
    return logits


def loss_of(logits: Tensor, batch: Batch) -> float:
    """Sum of the losses of `batch`, in nats."""
    labels = torch.from_numpy(batch.labels).to(logits.device)
    return next_token_losses(logits, labels).sum(dtype=torch.float64).item()


def begin_at(inside: Inside, depth: int, hidden: Float[Tensor, "batch sequence hidden"]) -> dict[nn.Module, Forward]:
    """Answers that spare the first `depth` layers: they hand out `hidden`, which the one below `depth` returned."""
    if depth == 0:
        return {}
    return handing_out(inside.layers[:depth], with_hidden(inside.examples[depth - 1], hidden))


def skip(inside: Inside, layers: Sequence[int]) -> dict[nn.Module, Forward]:
    """Answers that make each of `layers` return what it was given."""
    return {inside.layers[layer]: _passing_on(inside.examples[layer]) for layer in layers}


def logits_with(inside: Inside, batch: Batch, answers: dict[nn.Module, Forward]) -> Tensor:
    """The model's logits where some of its modules answer otherwise."""
    with answering(answers):
        return logits_of(inside, batch)


def _passing_on(example: object) -> Forward:
    def pass_on(*args: object, **kwargs: object) -> object:
        hidden = args[0] if args else kwargs.get("hidden_states")
        assert isinstance(hidden, Tensor)
        return with_hidden(example, hidden)

    return pass_on
