"""Can the model be trained to predict the next token? Proved by a short forward pass before anything is trained.

A model that sees later tokens learns to copy them, and its held-out loss means nothing; one whose logits are not finite
learns nothing at all. Neither stands in a configuration that could be trusted: what counts is what the model computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from frostline.engine import random_devices
from frostline.errors import ModelError
from frostline.loading.boundary import SOURCE_KEY, loading
from frostline.recipe import ModelSettings
from frostline.storage import let_go_of

TOKENS = 8
SEEN = 4
"""Tokens that both rows have in common; the later ones are others."""
TOLERANCE = 1e-4
"""Largest change of earlier logits, as a part of the change where the tokens changed: rounding is far below."""
_SEED = 20


def require_trainable(model: PreTrainedModel, settings: ModelSettings) -> None:
    """Raise `ModelError` unless `model` gives finite logits of each token, which no later token changes.

    The global random state and the modes of all modules are left as they were.
    """
    length = min(TOKENS, _positions(model))
    first, second = _tokens(model, length)
    seen = min(SEEN, length // 2)
    second[:seen] = first[:seen]
    with loading(settings, "forward pass"):
        logits = _logits(model, torch.stack((first, second)))
    name = f"the model '{settings.source}'"
    if not isinstance(logits, Tensor) or logits.ndim != 3 or logits.shape[:2] != (2, length):
        raise ModelError(f"{name} does not give logits for each token.", "Give a causal language model.").at(
            *SOURCE_KEY
        )
    if not torch.isfinite(logits).all():
        raise ModelError(
            f"{name} gives logits that are not finite.", "Its weights or its configuration are broken."
        ).at(*SOURCE_KEY)
    changes = (logits[0] - logits[1]).abs().amax(dim=1)
    earlier, later = float(changes[:seen].max()) if seen else 0.0, float(changes[seen:].max())
    if earlier > TOLERANCE * later:
        raise ModelError(
            f"a later token changes earlier logits of {name} ({type(model).__name__}): it is not causal.",
            "Give a causal language model; a family that has 'is_decoder' needs it true in config.json.",
        ).at(*SOURCE_KEY)


def embedding_rows(model: PreTrainedModel) -> int | None:
    """Number of token ids for which `model` has an embedding and a logit; None where it does not say."""
    modules = [model.get_input_embeddings(), model.get_output_embeddings()]
    weights = [getattr(module, "weight", None) for module in modules]
    rows = [weight.shape[0] for weight in weights if isinstance(weight, Tensor) and weight.ndim == 2]
    return min(rows) if rows else None


def _tokens(model: PreTrainedModel, length: int) -> tuple[Tensor, Tensor]:
    """Two rows of `length` ids that differ everywhere, where there are enough; none with a meaning of its own."""
    config = model.config.get_text_config()
    rows = embedding_rows(model) or int(getattr(config, "vocab_size", TOKENS))
    special = {value for values in (vars(config), vars(model.config)) for value in _special(values)}
    generator = torch.Generator().manual_seed(_SEED)
    drawn = torch.randint(rows, (64 + 8 * length,), generator=generator).unique()
    drawn = drawn[torch.randperm(drawn.numel(), generator=generator)]
    plain = torch.tensor([token for token in drawn.tolist() if token not in special] or [0])
    ids = plain.repeat(2 * length // plain.numel() + 1)
    return ids[:length].clone(), ids[length : 2 * length].clone()


def _special(values: dict[str, object]) -> Iterator[int]:
    for name, value in values.items():
        if name.endswith(("token_id", "token_index")):
            yield from [value] if isinstance(value, int) else value if isinstance(value, list) else []


def _positions(model: PreTrainedModel) -> int:
    length = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return length if isinstance(length, int) and length > 0 else TOKENS


def _logits(model: PreTrainedModel, tokens: Tensor) -> object:
    with _undisturbed(model), _pages_let_go(model), torch.no_grad():
        torch.manual_seed(_SEED)
        return getattr(model(input_ids=tokens.to(model.device), use_cache=False), "logits", None)


@contextmanager
def _pages_let_go(model: PreTrainedModel) -> Iterator[None]:
    """In the block a layer leaves no page of its file in memory: what was looked at is not yet used."""

    def let_go(layer: nn.Module, *_: object) -> None:
        let_go_of(layer.parameters())

    layers = [layer for module in model.modules() if isinstance(module, nn.ModuleList) for layer in module]
    hooks = [layer.register_forward_hook(let_go) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _undisturbed(model: PreTrainedModel) -> Iterator[None]:
    """In the block the model is in evaluation mode; then it and the random state are as before."""
    modes = [(module, module.training) for module in model.modules()]
    with torch.random.fork_rng(devices=random_devices(model.device)):
        model.train(False)
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
