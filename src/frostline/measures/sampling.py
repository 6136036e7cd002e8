"""What does a model write, given a prompt? Sampled with dice that are the same for every arm.

Drawing from softmax(logits / temperature) is the same as taking the argmax of logits / temperature + Gumbel noise
(the Gumbel-max trick; Maddison, Tarlow and Minka 2014, arXiv:1411.0030). Here the noise is a pure function of (seed,
position, prompt, token): two arms with equal weights write equal text, and where they differ the weights did it, not
the dice. `model.generate` would draw from the global random state and so change what is trained later.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from frostline.corpus import raw_numbers
from frostline.engine import FILED_TYPES, held_in_fp32
from frostline.free_memory import free_memory_bytes
from frostline.measures.forward import untouched_forward
from frostline.measures.going_on import goes_on_by_cache, logits_of
from frostline.measures.head import MOST_TOKENS, last_logits_alone
from frostline.recipe import SamplingSettings

LARGEST_SHARE_WHILE_SAMPLING = 0.125
"""Share of the free memory that fp32 copies of a model's matrices may take while text is sampled."""


def sample_continuations(
    model: PreTrainedModel,
    prompts: NDArray[np.int64],
    settings: SamplingSettings,
    seed: int,
    end_token_ids: Collection[int],
    *,
    device: torch.device,
    precision: str,
    by_cache: bool | None = None,
    draw: int = 0,
) -> list[list[int]]:
    """Up to `settings.new_tokens` token ids after each row of `prompts` [prompts, prompt_tokens].

    Each `draw` has dice of its own. A continuation ends before the first of `end_token_ids`, and may be empty. Global
    random state and model mode are left as they were. With `by_cache` the model reads each token once and keeps keys
    and values, else it reads the whole text again for each; None asks it (`goes_on_by_cache`).
    """
    if by_cache is None:
        by_cache = goes_on_by_cache(model, device=device)
    size = prompts_at_once(prompts.shape[1], settings.new_tokens)
    continuations: list[list[int]] = []
    with held_while_sampling(model, device, precision), untouched_forward(model, device, precision):
        for first in range(0, len(prompts), size):
            tokens = torch.from_numpy(np.ascontiguousarray(prompts[first : first + size])).to(device)
            dice = Dice(seed, draw, first)
            continuations += _continue(model, tokens, settings, dice, frozenset(end_token_ids), precision, by_cache)
    return continuations


def held_while_sampling(model: PreTrainedModel, device: torch.device, precision: str) -> AbstractContextManager[None]:
    """In the block 16-bit matrices are held in fp32, where they are used so and there is ample room.

    A token at a time is few products for each matrix, which would be cast up for every one of them.
    """
    filed = [parameter for parameter in model.parameters() if parameter.dtype in FILED_TYPES]
    room = LARGEST_SHARE_WHILE_SAMPLING * free_memory_bytes()
    if precision != "fp32" or device.type != "cpu" or 4 * sum(own.numel() for own in filed) > room:
        return nullcontext()
    return held_in_fp32(filed)


def prompts_at_once(prompt_tokens: int, new_tokens: int) -> int:
    """Prompts that go on together: as many as make at most `MOST_TOKENS` tokens with what is written, at least one."""
    return max(1, MOST_TOKENS // (prompt_tokens + new_tokens))


@dataclass(frozen=True)
class Dice:
    """What the noise of a group of prompts is drawn by, besides position, prompt and token."""

    seed: int
    draw: int
    first: int
    """Number of the group's first prompt."""


def _continue(
    model: PreTrainedModel,
    tokens: Int[Tensor, "prompts tokens"],
    settings: SamplingSettings,
    dice: Dice,
    ends: frozenset[int],
    precision: str,
    by_cache: bool,
) -> list[list[int]]:
    """The continuations of one group of prompts."""
    device = tokens.device
    continuations: list[list[int]] = [[] for _ in tokens]
    unfinished = set(range(len(continuations)))
    cache: object = None
    for position in range(settings.new_tokens):
        if not unfinished:
            break
        with last_logits_alone(model, tokens, device=device, precision=precision):
            if by_cache:
                output = model(input_ids=tokens, past_key_values=cache, use_cache=True)
                cache, logits = output.past_key_values, output.logits
            else:
                logits = logits_of(model, tokens)
        noise = gumbel_noise(dice.seed, position, len(tokens), logits.shape[-1], dice.draw, first=dice.first)
        chosen = choose_tokens(logits[:, -1], noise, settings.temperature, settings.top_p)
        for index in sorted(unfinished):
            token = int(chosen[index])
            if token in ends:
                unfinished.discard(index)
            else:
                continuations[index].append(token)
        # Finished rows go on unread, so that the cache keeps its shape.
        read = chosen[:, None].to(device)
        tokens = read if by_cache else torch.cat([tokens, read], dim=1)
    return continuations


def choose_tokens(
    logits: Float[Tensor, "prompts vocabulary"],
    noise: Float[Tensor, "prompts vocabulary"],
    temperature: float,
    top_p: float,
) -> Int[Tensor, " prompts"]:
    """argmax of logits / temperature + noise, among the tokens that `top_p` leaves; computed in float64 on the CPU."""
    scores = logits.to("cpu", torch.float64) / temperature
    if top_p < 1:
        scores = keep_nucleus(scores, top_p)
    return (scores + noise).argmax(dim=-1)


def keep_nucleus(scores: Float[Tensor, "prompts vocabulary"], top_p: float) -> Float[Tensor, "prompts vocabulary"]:
    """`scores` with -inf outside the fewest most probable tokens that together have probability `top_p`.

    Nucleus sampling (Holtzman et al. 2020, arXiv:1904.09751, section 3.1). The most probable token always stays;
    of equally probable ones, that of the smaller id comes first.
    """
    probabilities, order = scores.softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    before = probabilities.cumsum(dim=-1) - probabilities
    dropped = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= top_p)
    return scores.masked_fill(dropped, -torch.inf)


def gumbel_noise(
    seed: int, position: int, prompts: int, vocabulary: int, draw: int = 0, *, first: int = 0
) -> Float[Tensor, "{prompts} {vocabulary}"]:
    """Standard Gumbel noise, -log(-log(u)), for the token at `position` of each prompt, in float64.

    Prompts are counted from `first`. A row depends on its own number alone, not on how many prompts there are; a
    token's noise not on how many tokens.
    The numbers are counter-based, as the corpus's order is: torch's CPU generator would keep 32 bits of a seed only.
    """
    own = f", draw {draw}" if draw else ""
    purposes = [f"sampling noise of prompt {prompt}{own}" for prompt in range(first, first + prompts)]
    raw = [raw_numbers(seed, purpose, position, vocabulary) for purpose in purposes]
    # 52 bits and a half: u is never 0 or 1, so that the noise is finite.
    uniform = ((np.stack(raw) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return torch.from_numpy(uniform).log_().neg_().log_().neg_()


def end_token_ids(model: PreTrainedModel) -> list[int]:
    """Tokens after which a continuation ends, as the model's generation settings say."""
    settings = model.generation_config
    found = None if settings is None else settings.eos_token_id
    if found is None:
        return []
    return [found] if isinstance(found, int) else list(found)
