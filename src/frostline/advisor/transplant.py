"""Where does fine-tuning act? The learnt change of one layer or one role, put onto the untouched model, or taken away.

This is the truth that the cheap signals are scored against. Activation patching asks the same of the stream: the tuned
model computes up to a layer, the untouched one goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from frostline.corpus import Batch
from frostline.errors import ModelError
from frostline.measures import evaluate_loss, untouched_forward
from frostline.plans import ModelMap, Portion
from frostline.signals import begin_at, counted, logits_with, look_inside, loss_of, states_of


@dataclass(frozen=True)
class Effect:
    """What the learnt change of some weights does, as shares of the gain in loss of all of it."""

    alone: float
    """How much of the gain appears when only these weights have changed; 1 is all of it."""
    removed: float
    """How much of the gain disappears when only these weights have not."""
    moved: bool
    """Whether training changed any of them at all; the two shares are 0 where it did not."""


@dataclass(frozen=True)
class Transplant:
    untouched_loss: float
    """Loss before training, in nats per token, on the text that was read."""
    tuned_loss: float
    layers: dict[int, Effect]
    roles: dict[str, Effect]
    """Effect of each role, in all layers and outside them."""
    patched: dict[int, float]
    """Share of the gain that is there when the tuned model computes up to this layer, the untouched one the rest."""

    @property
    def gain(self) -> float:
        """What training has gained, in nats per token."""
        return self.untouched_loss - self.tuned_loss


def transplant(
    untouched: PreTrainedModel,
    tuned: PreTrainedModel,
    model_map: ModelMap,
    batches: Callable[[], Iterable[Batch]],
    *,
    device: torch.device,
    precision: str,
    say: Callable[[str], None] = lambda sentence: None,
) -> Transplant:
    """The effect of each layer's and each role's learnt change on the loss over `batches()`.

    Both models have the parameters of `model_map`, and keep their bytes. Raises `ModelError` where training has gained
    nothing that could be divided.
    """

    def loss(model: PreTrainedModel) -> float:
        return evaluate_loss(model, batches(), device=device, precision=precision).loss_nats

    before, after = loss(untouched), loss(tuned)
    gain = before - after
    if gain <= 0:
        raise ModelError(
            f"training has not lowered the loss ({before:.4f} nats before, {after:.4f} after): nothing can be divided.",
            "Look inside a run whose trained model is better than the untouched one.",
        )

    own, theirs = dict(untouched.named_parameters()), dict(tuned.named_parameters())

    def effect(portions: Sequence[Portion]) -> Effect:
        if not any(_moved(portion, own[portion.parameter], theirs[portion.parameter]) for portion in portions):
            return Effect(0.0, 0.0, moved=False)
        with exchanged(untouched, tuned, portions):
            alone = (before - loss(untouched)) / gain
        with exchanged(tuned, untouched, portions):
            removed = (loss(tuned) - after) / gain
        return Effect(alone, removed, moved=True)

    layers: dict[int, Effect] = {}
    say("Transplanting one layer after another")
    for layer in range(model_map.layers):
        layers[layer] = effect([portion for portion in model_map.portions if portion.layer == layer])
    roles: dict[str, Effect] = {}
    say("Transplanting one role after another")
    for role in dict.fromkeys(portion.role for portion in model_map.portions):
        roles[role] = effect([portion for portion in model_map.portions if portion.role == role])
    say("Patching activations")
    patched = _patch(untouched, tuned, batches, device, precision)
    return Transplant(before, after, layers, roles, {layer: (before - lost) / gain for layer, lost in patched.items()})


def _moved(portion: Portion, own: Tensor, trained: Tensor) -> bool:
    """Whether training changed the values of `portion`; of a fused matrix, those of its role alone."""
    return not torch.equal(portion.view_of(own), portion.view_of(trained.to(own)))


@contextmanager
def exchanged(model: PreTrainedModel, other: PreTrainedModel, portions: Sequence[Portion]) -> Iterator[None]:
    """Inside, `portions` of `model` have the values of `other`; afterwards their own again, to the byte."""
    own, theirs = dict(model.named_parameters()), dict(other.named_parameters())
    before: dict[str, Tensor] = {}
    try:
        with torch.no_grad():
            for portion in portions:
                parameter = own[portion.parameter]
                before.setdefault(portion.parameter, parameter.detach().clone())
                _put(parameter, portion, theirs[portion.parameter].detach().to(parameter))
        yield
    finally:
        with torch.no_grad():
            for name, value in before.items():
                own[name].copy_(value)


def _put(parameter: Tensor, portion: Portion, source: Tensor) -> None:
    if portion.whole:
        parameter.copy_(source)
        return
    places = portion.index_tensor(parameter.device)
    parameter.index_copy_(portion.dimension, places, source.index_select(portion.dimension, places))


def _patch(
    untouched: PreTrainedModel,
    tuned: PreTrainedModel,
    batches: Callable[[], Iterable[Batch]],
    device: torch.device,
    precision: str,
) -> dict[int, float]:
    """Loss in nats per token of the untouched model going on from the tuned one's state after each layer."""
    below = look_inside(tuned, device=device, precision=precision)
    above = look_inside(untouched, device=device, precision=precision)
    losses = dict.fromkeys(range(len(above.layers)), 0.0)
    predictions = 0
    with untouched_forward(tuned, device, precision), untouched_forward(untouched, device, precision):
        for batch in batches():
            predictions += counted(batch)
            states_of(above, batch)  # what its layers return is noted on the way
            states, _ = states_of(below, batch)
            for layer in losses:
                losses[layer] += loss_of(
                    logits_with(above, batch, begin_at(above, layer + 1, states[layer + 1])), batch
                )
    return {layer: lost / predictions for layer, lost in losses.items()}
