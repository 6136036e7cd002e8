"""What is a layer worth? The loss without it, without its attention, without its MLP.

Attention and MLP are silenced at the matrix that writes into the stream (`attn.o`, `mlp.down`): its output becomes
zero. Whatever stands below the layer is computed once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from frostline.engine import with_hidden
from frostline.measures import untouched_forward
from frostline.plans import Forward, ModelMap
from frostline.signals.hidden import begin_at, logits_with, look_inside, loss_of, skip, states_of
from frostline.signals.residual import BATCH
from frostline.signals.sample import Sample
from frostline.signals.signal import WHOLE_LAYER, Place, Signal, SignalKind

ABLATION = SignalKind(
    name="ablation",
    title="Loss without it",
    meaning="The model cannot do without this layer, or this half of it.",
    source="Loss of the sample with the layer skipped, or the output of its attention or MLP set to zero, less the "
    "loss of the whole model, in nats per token.",
    places="layers",
)
WINDOWS = 8
"""Windows of the sample that are read, three times for each layer. What is compared are losses on the same windows."""
WRITERS = {"attn.o": "attn", "mlp.down": "mlp"}
"""Roles that write into the stream, and the half of the layer that they end."""


def ablation_signal(
    model: PreTrainedModel, model_map: ModelMap, sample: Sample, *, device: torch.device, precision: str
) -> Signal:
    """`ABLATION` of each layer, its attention and its MLP (where it has them).

    Raises `ModelError` for a model whose layers cannot be skipped.
    """
    inside = look_inside(model, device=device, precision=precision)
    writers = _writers(model, model_map)
    few = Sample(sample.windows[:WINDOWS])
    losses: dict[Place, float] = {}
    whole = 0.0
    with untouched_forward(model, device, precision):
        for batch in few.batches(BATCH):
            states, logits = states_of(inside, batch)
            whole += loss_of(logits, batch)
            for layer in range(len(inside.layers)):
                below = begin_at(inside, layer, states[layer])
                ways = {(layer, WHOLE_LAYER): skip(inside, [layer])}
                for half in WRITERS.values():
                    if modules := writers.get((layer, half)):
                        ways[(layer, half)] = {module: _silent(module.forward) for module in modules}
                for place, answers in ways.items():
                    loss = loss_of(logits_with(inside, batch, below | answers), batch)
                    losses[place] = losses.get(place, 0.0) + loss
    return Signal(ABLATION, {place: (loss - whole) / few.predictions for place, loss in losses.items()})


def _writers(model: PreTrainedModel, model_map: ModelMap) -> dict[tuple[int, str], list[nn.Module]]:
    """The modules that end each half of each layer."""
    found: dict[tuple[int, str], list[nn.Module]] = {}
    for portion in model_map.portions:
        if portion.layer is not None and portion.role in WRITERS:
            module = model.get_submodule(portion.parameter.rpartition(".")[0])
            modules = found.setdefault((portion.layer, WRITERS[portion.role]), [])
            if module not in modules:
                modules.append(module)
    return found


def _silent(run: Forward) -> Forward:
    def run_silently(*args: object, **kwargs: object) -> object:
        output = run(*args, **kwargs)
        if isinstance(output, Tensor):
            return torch.zeros_like(output)
        assert isinstance(output, tuple)
        return with_hidden(output, torch.zeros_like(output[0]))

    return run_silently
