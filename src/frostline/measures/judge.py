"""How likely is a generated text to a model that has nothing to do with the ones compared? Its judge.

The untouched model is no judge: it finds likely what it would have written itself, so that it favours whoever has moved
least. A judge is another model, of other weights; its tokenizer reads the text anew, so that its losses are those of a
whole text, to be divided by the bytes of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from frostline.corpus import beginning_of, tokenizer_sha256
from frostline.errors import ModelError
from frostline.measures.identity import ModelIdentity
from frostline.measures.perplexity import continuation_losses

LIKENESS = 0.9
"""Cosine of two matrices of one name and shape from which on one was made from the other: of independent ones it is
near 0."""


@dataclass(frozen=True)
class Judge:
    """A model that reads what others have written."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    sha256: str
    """Hash of all that decides its losses besides machine, device and precision."""
    longest: int | None
    """Tokens that it can read at once; None where there is no limit."""


def judge_of(
    identity: ModelIdentity, tokenizer: PreTrainedTokenizerBase, longest: int | None, *, of: PreTrainedModel
) -> Judge:
    """The model of `identity` as a judge of what `of` writes. Raises `ModelError` where the two are relatives."""
    shared = _shared_matrix(identity.model, of)
    if shared is not None:
        raise ModelError(
            f"the judge shares weights with the model that is trained ('{shared}'), and would favour its own text.",
            "Name a model of another origin, or leave the judge out (measures.judge: null).",
        ).at("measures", "judge")
    parts = (identity.sha256, identity.configuration_sha256, tokenizer_sha256(tokenizer))
    return Judge(identity.model, tokenizer, hashlib.sha256(" ".join(parts).encode()).hexdigest(), longest)


def judge_losses(
    judge: Judge, prompts: Sequence[str], texts: Sequence[str], *, device: torch.device, precision: str
) -> list[float]:
    """Loss of each whole text in nats, given its prompt; NaN for an empty text.

    What the judge cannot read at once is left out: of the prompt first, from its beginning, then of the text, at its
    end.
    """
    losses = []
    before = beginning_of(judge.tokenizer)
    for prompt, text in zip(prompts, texts, strict=True):
        tokens = _ids(judge.tokenizer, text)
        if judge.longest is not None:
            tokens = tokens[: max(1, judge.longest - len(before) - 1)]
        room = None if judge.longest is None else judge.longest - len(before) - len(tokens)
        given = _ids(judge.tokenizer, prompt)
        given = given if room is None else given[max(0, len(given) - room) :]
        # Something must stand before the first token for it to be predicted from.
        opening: NDArray[np.int64] = np.array([[*before, *given] or tokens[:1]], dtype=np.int64)
        (mean,) = continuation_losses(judge.model, opening, [tokens], device=device, precision=precision)
        losses.append(mean * len(tokens))
    return losses


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _shared_matrix(judge: PreTrainedModel, model: PreTrainedModel) -> str | None:
    """The name of a matrix of `judge` that is, or was made from, one of `model`; None where there is none."""
    own = {name: value for name, value in model.named_parameters() if value.dim() > 1}
    for name, value in judge.named_parameters():
        other = own.get(name)
        if other is not None and other.shape == value.shape and _cosine(value, other) > LIKENESS:
            return name
    return None


def _cosine(first: Tensor, second: Tensor) -> float:
    one, two = (value.detach().to("cpu", torch.float32).flatten() for value in (first, second))
    return float(torch.nn.functional.cosine_similarity(one, two, dim=0))
