"""Can a model go on from what it has read, or must it read the whole text again for each new token?

Most decoders keep keys and values of what they have read and hand them out as `past_key_values`. State-space and other
recurrent models have no such cache, or one of another name and meaning, and a few have one that does not give what the
whole text gives. So the model is asked: it reads a few tokens at once, and the same tokens with the last ones by its
cache. Where both agree the cache is used; a model is never believed by its name.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from frostline.errors import ModelError
from frostline.measures.forward import untouched_forward
from frostline.out_of_memory import is_out_of_memory

TOKENS = 8
"""Tokens that a model reads to show it."""
READ_ONE_BY_ONE = 2
"""The last of them that it reads by its cache."""
TROUBLE = (RuntimeError, TypeError, ValueError, KeyError, IndexError, AttributeError, AssertionError, ImportError)
"""What a model may raise that cannot go on: its code is not ours."""
AGREEMENT = 1e-3
"""Largest difference of logits, against their spread, that is rounding in fp32; a wrong state differs by per cents."""


def goes_on_by_cache(model: PreTrainedModel, *, device: torch.device, longest: int = TOKENS) -> bool:
    """Whether `past_key_values` gives the logits of the whole text, in fp32.

    It reads `longest` tokens at most, 2 or more. Global random state and mode are left alone.
    """
    tokens = _some_tokens(model, device, longest)
    at_once = max(1, tokens.shape[1] - READ_ONE_BY_ONE)
    with untouched_forward(model, device, "fp32"):
        whole = logits_of(model, tokens)
        try:
            output = model(input_ids=tokens[:, :at_once], past_key_values=None, use_cache=True)
            stepwise = []
            for place in range(at_once, tokens.shape[1]):
                cache: object = getattr(output, "past_key_values", None)
                if cache is None:
                    return False
                output = model(input_ids=tokens[:, place : place + 1], past_key_values=cache, use_cache=True)
                stepwise.append(output.logits[:, -1])
        except TROUBLE as error:  # a cache of another shape, or one that cannot count what it has read
            if is_out_of_memory(error):
                raise
            return False
    expected = whole[:, at_once:]
    difference = (torch.stack(stepwise, dim=1) - expected).abs().max()
    # A model whose logits are all equal has no spread: there is nothing to tell apart, and nothing differs.
    return bool(difference <= AGREEMENT * expected.std())


def require_going_on(model: PreTrainedModel, *, device: torch.device, precision: str, longest: int = TOKENS) -> bool:
    """What `goes_on_by_cache` says, where two tokens can be sampled at all. Raises `ModelError` where they cannot."""
    try:
        by_cache = goes_on_by_cache(model, device=device, longest=longest)
        if not by_cache:
            tokens = _some_tokens(model, device, longest)
            with untouched_forward(model, device, precision):
                for length in (tokens.shape[1] - 1, tokens.shape[1]):
                    logits_of(model, tokens[:, :length])
    except TROUBLE as error:
        if is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:120].rstrip(".")
        raise ModelError(
            f"no text can be sampled from this {type(model).__name__} ({type(error).__name__}: {reason}).",
            "Leave it out with measures.sampling.prompts=0.",
        ).at("measures", "sampling") from error
    return by_cache


def logits_of(model: PreTrainedModel, tokens: Tensor) -> Tensor:
    """Logits [batch, sequence, vocabulary] of a text read at once, without a cache."""
    logits: Tensor = model(input_ids=tokens, use_cache=False).logits
    return logits


def _some_tokens(model: PreTrainedModel, device: torch.device, longest: int) -> Tensor:
    """[1, `TOKENS`, or `longest` if that is less] token ids, different ones where the vocabulary has as many."""
    rows: int = model.config.get_text_config().vocab_size
    count = min(TOKENS, longest)
    return (torch.arange(1, count + 1, device=device) * max(1, rows // (count + 1)) % rows)[None]
