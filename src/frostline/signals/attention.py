"""Where does attention look? How spread it is and how far back it reaches, head by head."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from frostline.engine import to_device
from frostline.errors import ModelError
from frostline.measures import untouched_forward
from frostline.plans import decoder_stack
from frostline.signals.sample import Sample
from frostline.signals.signal import Place, Signal, SignalKind

ENTROPY = SignalKind(
    name="attention-entropy",
    title="Attention entropy",
    meaning="The heads look at many positions at once.",
    source="Mean of -sum_j p_ij log p_ij in nats over positions i and heads, with p the attention probabilities (Zhai "
    "et al. 2023, arXiv:2303.06296, section 3).",
    places="heads",
    chooses=False,
)
DISTANCE = SignalKind(
    name="attention-distance",
    title="Attention distance",
    meaning="The heads look far back.",
    source="Mean of sum_j p_ij (i - j) in tokens over positions i and heads (Dosovitskiy et al. 2021, "
    "arXiv:2010.11929, section 4.5, for text).",
    places="heads",
    chooses=False,
)


def attention_signals(model: PreTrainedModel, sample: Sample, *, device: torch.device, precision: str) -> list[Signal]:
    """`ENTROPY` and `DISTANCE` of each layer and head. Raises `ModelError` where the model shows no probabilities."""
    _, layers = decoder_stack(model)
    config = model.config.get_text_config()
    implementation = config._attn_implementation
    entropy: dict[tuple[int, int], float] = {}
    distance: dict[tuple[int, int], float] = {}
    positions = 0
    try:
        model.set_attn_implementation("eager")
        with untouched_forward(model, device, precision):
            for window in sample.windows:
                input_ids, _, mask = to_device(window, device)
                output = model(input_ids=input_ids, attention_mask=mask, use_cache=False, output_attentions=True)
                attentions: object = getattr(output, "attentions", None)  # of recurrent models: none
                found = _probabilities(attentions, len(layers), type(model).__name__)
                read = torch.ones_like(input_ids[0]).bool()
                if window.is_token is not None:
                    read = torch.from_numpy(window.is_token[0]).to(device)
                positions += int(read.sum())
                for layer, probabilities in enumerate(found):
                    for values, of_query in (
                        (entropy, _entropy(probabilities)),
                        (distance, _distance(probabilities)),
                    ):
                        for head, value in enumerate(of_query[:, read].sum(-1).tolist()):
                            values[(layer, head)] = values.get((layer, head), 0.0) + value
    finally:
        model.set_attn_implementation(implementation)
    return [
        _of_heads(kind, {place: value / positions for place, value in values.items()})
        for kind, values in ((ENTROPY, entropy), (DISTANCE, distance))
    ]


def _probabilities(attentions: object, layers: int, kind: str) -> list[Tensor]:
    """[heads, queries, keys] of each layer."""
    shown = attentions if isinstance(attentions, tuple | list) else ()
    found = [value for value in shown if isinstance(value, Tensor) and value.ndim == 4]
    if len(found) != layers:
        raise ModelError(
            f"{kind} does not show its attention probabilities in every layer.", "The other signals do without them."
        )
    return [value[0].float() for value in found]


def _entropy(probabilities: Tensor) -> Tensor:
    spread: Tensor = -torch.special.xlogy(probabilities, probabilities).sum(-1)
    return spread


def _distance(probabilities: Tensor) -> Tensor:
    queries, keys = probabilities.shape[-2:]
    place = torch.arange(keys, device=probabilities.device, dtype=probabilities.dtype)
    back = (place[-queries:, None] - place[None, :]).clamp(min=0)
    reach: Tensor = (probabilities * back).sum(-1)
    return reach


def _of_heads(kind: SignalKind, heads: dict[tuple[int, int], float]) -> Signal:
    by_layer: dict[int, list[float]] = {}
    for (layer, _), value in heads.items():
        by_layer.setdefault(layer, []).append(value)
    values: dict[Place, float] = {(layer, "attn"): sum(own) / len(own) for layer, own in by_layer.items()}
    return Signal(kind, values, heads)
