"""How can activations be recomputed instead of kept, without waking what is frozen? In the suffix alone.

`transformers` checkpoints the layers that carry its flag, in training mode. Its own switch turns the flag on in every
layer and lets the embeddings' output require a gradient, which drags the whole prefix into the backward pass. Here the
flag is set layer by layer, from the frost line upwards; the non-re-entrant variant of `torch.utils.checkpoint` needs
no input that requires a gradient. Random numbers are replayed: dropout masks are those of the first pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from frostline.errors import ModelError


def checkpoint_suffix(model: PreTrainedModel, layers: Sequence[nn.Module], prefix_layers: int) -> None:
    """Recompute the activations of the decoder layers from `prefix_layers` on, and keep those of the others.

    A layer of the suffix without a trained weight is checkpointed too: gradients pass through it. Call it again when
    the depth changes. Losses and gradients keep their bits. Raises `ModelError` where the family cannot do it.
    """
    if not (
        model.supports_gradient_checkpointing and all(isinstance(layer, GradientCheckpointingLayer) for layer in layers)
    ):
        raise ModelError(
            f"{type(model).__name__} has no gradient checkpointing in its decoder layers.",
            "Set it to false; a smaller training.batch with more training.accumulation needs less memory as well.",
        ).at("training", "checkpointing")
    no_checkpointing(model)
    for layer in layers[prefix_layers:]:
        vars(layer)["_gradient_checkpointing_func"] = partial(checkpoint, use_reentrant=False)
        vars(layer)["gradient_checkpointing"] = True


def no_checkpointing(model: PreTrainedModel) -> None:
    """Keep the activations of every layer again."""
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.gradient_checkpointing = False
