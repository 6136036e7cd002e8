"""What does a layer do to the stream that passes through it? Its influence, its likeness to its neighbour, its reading.

Also how foreign the corpus is to it: whether what the layer carries for the corpus lies in the directions in which it
carries general text.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from frostline.corpus import Batch
from frostline.measures import untouched_forward
from frostline.signals.hidden import Inside, begin_at, logits_with, look_inside, loss_of, skip, states_of
from frostline.signals.sample import Sample, counted
from frostline.signals.signal import WHOLE_LAYER, Signal, SignalKind

BATCH = 4
"""Windows of one forward pass."""
LENS_BATCHES = 2
"""That are read through the lens."""
DIRECTIONS = 32
"""Principal directions in which general text is described."""

BLOCK_INFLUENCE = SignalKind(
    name="block-influence",
    title="Block influence",
    meaning="The layer turns the hidden state most.",
    source="Mean of 1 - cos(hidden state before, after the layer) over positions (ShortGPT: Men et al. 2024, "
    "arXiv:2403.03853, eq. 1).",
    places="layers",
)
CKA = SignalKind(
    name="cka",
    title="Likeness to the layer below (linear CKA)",
    meaning="The layer carries what the one below carries, up to a rotation.",
    source="||Y'X||_F^2 / (||X'X||_F ||Y'Y||_F) of centred hidden states X, Y after adjacent layers (Kornblith et al. "
    "2019, arXiv:1905.00414, eq. 5).",
    places="layers",
    chooses=False,
)
LENS_LOSS = SignalKind(
    name="lens-loss",
    title="Logit lens: loss",
    meaning="Read by the model's own norm and head, the hidden state after this layer predicts badly as yet.",
    source="Loss in nats per token of the hidden state after each layer, all later layers passed over (nostalgebraist "
    "2020, 'interpreting GPT: the logit lens').",
    places="layers",
    chooses=False,
)
LENS_AGREEMENT = SignalKind(
    name="lens-agreement",
    title="Logit lens: agreement",
    meaning="After this layer the model has settled on the token that it will say.",
    source="Share of positions at which the lens's most probable token is that of the whole model.",
    places="layers",
    chooses=False,
)
FOREIGN = SignalKind(
    name="foreign",
    title="What is foreign in the corpus",
    meaning="What the layer carries for the corpus lies in other directions than what it carries for general text.",
    source=f"1 - (variance of the corpus's hidden states along the {DIRECTIONS} principal directions of general text / "
    f"along its own {DIRECTIONS}); after the eigenspace overlap of May et al. 2019, arXiv:1909.01264.",
    places="layers",
)


def residual_signals(
    model: PreTrainedModel,
    sample: Sample,
    *,
    general: Sample | None = None,
    device: torch.device,
    precision: str,
) -> list[Signal]:
    """`BLOCK_INFLUENCE`, `CKA` and the two lenses of each layer; with `general` text, `FOREIGN` too.

    Raises `ModelError` for a model whose layers cannot be looked at one by one.
    """
    inside = look_inside(model, device=device, precision=precision)
    layers = len(inside.layers)
    influence, lens_loss, agreement = [0.0] * layers, [0.0] * layers, [0.0] * layers
    positions = lens_positions = predictions = 0
    kept: list[list[Tensor]] = [[] for _ in range(layers + 1)]
    with untouched_forward(model, device, precision):
        for number, batch in enumerate(sample.batches(BATCH)):
            states, logits = states_of(inside, batch)
            read = _counted_positions(batch, device)
            positions += int(read.sum())
            if number < LENS_BATCHES:
                lens_positions += int(read.sum())
                predictions += counted(batch)
            chosen = logits.argmax(-1)
            for index, state in enumerate(states):
                kept[index].append(state[read].float().cpu())
            for layer in range(layers):
                turned = torch.cosine_similarity(states[layer].float(), states[layer + 1].float(), dim=-1)
                influence[layer] += float((1 - turned)[read].sum())
                if number >= LENS_BATCHES:
                    continue  # the head is most of its cost
                seen = logits if layer == layers - 1 else _through_the_lens(inside, batch, layer, states[layer + 1])
                lens_loss[layer] += loss_of(seen, batch)
                agreement[layer] += float((seen.argmax(-1) == chosen)[read].sum())
    carried = [torch.cat(parts) for parts in kept]
    found = [
        _of_layers(BLOCK_INFLUENCE, [value / positions for value in influence]),
        _of_layers(CKA, [linear_cka(below, above) for below, above in pairwise(carried)]),
        _of_layers(LENS_LOSS, [value / predictions for value in lens_loss]),
        _of_layers(LENS_AGREEMENT, [value / lens_positions for value in agreement]),
    ]
    if general is not None:
        ordinary = _carried(inside, general)
        found.append(
            _of_layers(FOREIGN, [foreignness(own, its) for own, its in zip(carried[1:], ordinary, strict=True)])
        )
    return found


def linear_cka(first: Float[Tensor, "positions a"], second: Float[Tensor, "positions b"]) -> float:
    """Linear CKA of two representations of the same positions, from 0 to 1; 1 where one is a rotation of the other."""
    x = first.double() - first.double().mean(0)
    y = second.double() - second.double().mean(0)
    if len(x) < x.shape[1]:  # the Gram matrices of positions are the smaller ones, and give the same three numbers
        own, other = x @ x.T, y @ y.T
        cross = (own * other).sum()
        return float(cross / (own.norm() * other.norm()))
    return float((y.T @ x).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm()))


def foreignness(corpus: Float[Tensor, "positions hidden"], general: Float[Tensor, "others hidden"]) -> float:
    """`FOREIGN` of one layer: 0 where general text's directions hold all that the corpus's own would, at most 1."""
    own = corpus.double() - corpus.double().mean(0)
    directions = _principal_directions(general)
    along = (own @ directions).square().sum()
    best = (own @ _principal_directions(corpus)).square().sum()
    return float(1 - along / best) if best > 0 else 0.0


def _principal_directions(states: Float[Tensor, "positions hidden"]) -> Float[Tensor, "hidden directions"]:
    centred = states.double() - states.double().mean(0)
    vectors: Tensor = torch.linalg.eigh(centred.T @ centred).eigenvectors
    return vectors[:, -min(DIRECTIONS, vectors.shape[1]) :]


def _through_the_lens(inside: Inside, batch: Batch, layer: int, hidden: Tensor) -> Tensor:
    later = range(layer + 1, len(inside.layers))
    return logits_with(inside, batch, begin_at(inside, layer + 1, hidden) | skip(inside, later))


def _carried(inside: Inside, sample: Sample) -> list[Tensor]:
    """[positions, hidden] after each layer."""
    kept: list[list[Tensor]] = [[] for _ in inside.layers]
    with untouched_forward(inside.model, inside.device, inside.precision):
        for batch in sample.batches(BATCH):
            states, _ = states_of(inside, batch)
            read = _counted_positions(batch, inside.device)
            for index, state in enumerate(states[1:]):
                kept[index].append(state[read].float().cpu())
    return [torch.cat(parts) for parts in kept]


def _counted_positions(batch: Batch, device: torch.device) -> Tensor:
    """[batch, sequence] bool: all but padding."""
    if batch.is_token is None:
        return torch.ones(batch.input_ids.shape, dtype=torch.bool, device=device)
    return torch.from_numpy(batch.is_token).to(device)


def _of_layers(kind: SignalKind, values: list[float]) -> Signal:
    return Signal(kind, {(layer, WHOLE_LAYER): value for layer, value in enumerate(values)})
