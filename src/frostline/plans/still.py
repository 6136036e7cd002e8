"""Does running a model change its weights? It must not, or frozen ones move without any training.

RWKV halves some weights in place when it is run in evaluation mode, and its hidden states with them, so that fp16 does
not overflow; the next run in train mode doubles them again. What is hashed, compared or saved in between is not what
was trained. Frostline computes in fp32 and bf16, which do not overflow there: the weights stay as they are.
"""

from __future__ import annotations

from torch import nn

_RESCALED = "layers_are_rescaled"
"""Attribute of a module that changes its weights by mode; False is as they were trained."""


def keep_weights_still(model: nn.Module) -> None:
    """No forward pass of `model` writes into its parameters from now on. The function that it computes is the same."""
    for module in model.modules():
        if vars(module).get(_RESCALED) is False:
            vars(module)["_rescale_layers"] = _stay


def _stay() -> None:
    """Stands for the method that would rescale."""
