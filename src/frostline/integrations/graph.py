"""What keeps frozen layers out of the backward pass of someone else's loop?

Nothing does, where gradient checkpointing has asked for gradients of the embeddings' output (`transformers` does so
unasked; TRL checkpoints by default): then every frozen layer is in the graph, is computed again, and gets a backward
pass.
"""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel


def keep_prefix_out_of_graph(model: PreTrainedModel) -> None:
    """Let the layers below the lowest trained weight have no graph, though others are checkpointed.

    Reentrant checkpointing is left as it is: a layer whose input needs no gradient would get none for its weights.
    """
    asked = hasattr(model, "_require_grads_hook")  # without it, transformers before 5.20 cannot be told to stop
    if asked and not any(_is_reentrant(module) for module in model.modules()):
        model.disable_input_require_grads()


def _is_reentrant(module: nn.Module) -> bool:
    own = vars(module)
    function = own.get("_gradient_checkpointing_func")
    if function is None or not own.get("gradient_checkpointing", False):
        return False
    return getattr(function, "keywords", {}).get("use_reentrant", True) is not False
