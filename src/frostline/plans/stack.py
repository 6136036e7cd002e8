"""Which modules are the decoder's layers? The list of as many equal ones as the configuration counts."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

from frostline.errors import ModelError

HINT = "Frostline trains decoder-only causal language models."


def decoder_stack(model: PreTrainedModel) -> tuple[str, Sequence[nn.Module]]:
    """Full name of the list of decoder layers, and the layers. Raises `ModelError` if there is none."""
    kind = type(model).__name__
    if model.config.is_encoder_decoder:
        raise ModelError(f"{kind} has no decoder stack of its own: it is an encoder-decoder model.", HINT)
    count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    expected = [name for name, module in lists.items() if len(module) == count]
    uniform = [name for name, module in lists.items() if len({type(child) for child in module}) == 1]
    longest = max((len(lists[name]) for name in uniform), default=0)
    candidates = expected or [name for name in uniform if len(lists[name]) == longest]
    candidates = [name for name in candidates if any(True for _ in lists[name].parameters())]
    # Beside the layers that read text may be as many larger ones that read images: the model knows its decoder.
    of_text = {id(module) for module in _decoder(model).modules()}
    candidates = [name for name in candidates if id(lists[name]) in of_text] or candidates
    if not candidates:
        raise ModelError(f"{kind} has no decoder stack: no list of equal layers was found in it.", HINT)
    name = max(candidates, key=lambda name: sum(parameter.numel() for parameter in lists[name].parameters()))
    return name, list(lists[name])


def _decoder(model: PreTrainedModel) -> nn.Module:
    """The part of `model` that reads text, as far as its family tells; else all of it."""
    found: object = model.get_decoder() if hasattr(model, "get_decoder") else None
    return found if isinstance(found, nn.Module) else model
