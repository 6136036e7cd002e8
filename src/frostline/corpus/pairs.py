"""How are prompt/response pairs read? Each pair is a window of its own; the loss counts the response alone.

The tokenizer's chat template writes the pair as a conversation. Prompt and response are tokenised apart, so that the
border between them is a border of tokens; a response is what the template adds after its own invitation to answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray

from frostline.corpus.order import below, permutation, positions_of_step
from frostline.corpus.windows import NOT_COUNTED, Rows, choose_held_out
from frostline.errors import CorpusError
from frostline.recipe import WindowSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def render_pair(tokenizer: PreTrainedTokenizerBase, prompt: str, response: str, place: str) -> tuple[str, str]:
    """The conversation of one pair as text: what the model is given, and what it should write.

    Raises `CorpusError` if the tokenizer has no chat template or the template refuses the pair.
    """
    question = {"role": "user", "content": prompt}
    answer = {"role": "assistant", "content": response}
    try:
        given = tokenizer.apply_chat_template([question], tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template([question, answer], tokenize=False)
    except TemplateError as error:
        raise CorpusError(f"{place}: the tokenizer's chat template refuses this pair: {error}.") from error
    except ValueError as error:
        raise CorpusError(
            "prompt/response pairs need a chat template, and this model's tokenizer has none.",
            "Use a model tuned for conversation, or one text column.",
        ) from error
    given, whole = str(given), str(whole)
    if whole.startswith(given):
        return given, whole[len(given) :]
    # The template writes a finished answer otherwise than the opening of one: then the bare response follows the
    # opening, and the end token.
    end = tokenizer.eos_token
    return given, response + (end if isinstance(end, str) else "")


@dataclass(frozen=True)
class PairWindows:
    """Pairs as windows of at most `length` tokens; a window is named by the number of its pair."""

    ids: NDArray[np.unsignedinteger]
    """[tokens] of all pairs, end to end, mapped from disk."""
    starts: NDArray[np.int64]
    """[pairs] first token."""
    prompt_tokens: NDArray[np.int64]
    """[pairs] tokens of the prompt."""
    lengths: NDArray[np.int64]
    """[pairs] tokens of prompt and response, cut to the window."""
    width: int
    """Positions of a row: the longest pair's, at most the window's; the same in every batch."""
    padding_id: int
    order: Literal["epochs", "random"]
    training: NDArray[np.int64]
    held_out: NDArray[np.int64]
    skipped: int
    """Pairs left out, whose prompt alone fills the window."""

    @property
    def training_stretches(self) -> NDArray[np.int64]:
        """[pairs, 2]: first token and end of each training pair as the window holds it."""
        starts = self.starts[self.training]
        return np.stack((starts, starts + self.lengths[self.training]), axis=1)

    def ids_of_step(self, seed: int, step: int, size: int) -> NDArray[np.int64]:
        """The `size` pairs of step `step`."""
        if self.order == "epochs":
            return self.training[positions_of_step(seed, step, size, self.training.size)]
        return self.training[below(seed, "offset", step, self.training.size, size)]

    def gather(self, window_ids: NDArray[np.int64]) -> Rows:
        """The tokens of the pairs `window_ids`, padded on the right."""
        place = np.arange(self.width)
        lengths = self.lengths[window_ids, np.newaxis]
        is_token = place < lengths
        inside = np.minimum(self.starts[window_ids, np.newaxis] + place, self.ids.size - 1)
        input_ids = np.where(is_token, self.ids[inside].astype(np.int64), self.padding_id)
        counted = is_token & (place >= self.prompt_tokens[window_ids, np.newaxis])
        labels = np.where(counted, input_ids, NOT_COUNTED)
        return Rows(input_ids, labels, None if bool(is_token.all()) else is_token.astype(np.int64))

    def prompts(self, seed: int, count: int, length: int) -> NDArray[np.int64]:
        """[count, length] tokens of held-out pairs: the end of the prompt, where the response is to begin.

        A prompt shorter than `length` is filled up with the beginning of its response. Raises `CorpusError` if no
        held-out pair is long enough.
        """
        long_enough = self.held_out[self.lengths[self.held_out] >= length]
        if long_enough.size == 0:
            longest = int(self.lengths[self.held_out].max())
            raise CorpusError(
                f"prompts of {length:,} tokens are longer than every held-out pair (up to {longest:,}).",
                f"Set measures.sampling.prompt_tokens to {longest} or less.",
            )
        rounds = -(-count // long_enough.size)
        shuffled = [long_enough[permutation(seed, "prompts", number, long_enough.size)] for number in range(rounds)]
        chosen = np.concatenate([np.empty(0, dtype=np.int64), *shuffled])[:count]
        begins = self.starts[chosen] + np.maximum(self.prompt_tokens[chosen] - length, 0)
        tokens: NDArray[np.int64] = self.ids[begins[:, np.newaxis] + np.arange(length)].astype(np.int64)
        return tokens


def lay_out_pairs(
    ids: NDArray[np.unsignedinteger],
    pairs: NDArray[np.int64],
    settings: WindowSettings,
    source: str,
    padding_id: int,
) -> PairWindows:
    """Make each row of `pairs` (first token, tokens of the prompt) a window and hold some out.

    Raises `CorpusError` with numbers if there are too few.
    """
    starts, prompt_tokens = pairs.T
    ends = np.append(starts[1:], ids.size)
    lengths = np.minimum(ends - starts, settings.length)
    # At least one token of the response must be there to predict, from at least one before it.
    fits = lengths > np.maximum(prompt_tokens, 1)
    skipped = int((~fits).sum())
    starts, prompt_tokens, lengths = starts[fits], prompt_tokens[fits], lengths[fits]
    if starts.size < settings.held_out + 1:
        raise _too_few(source, int(starts.size), skipped, settings)
    held_out = choose_held_out(int(starts.size), settings.held_out)
    return PairWindows(
        ids=ids,
        starts=starts,
        prompt_tokens=prompt_tokens,
        lengths=lengths,
        width=int(lengths.max()),
        padding_id=padding_id,
        order=settings.order,
        training=np.delete(np.arange(starts.size, dtype=np.int64), held_out),
        held_out=held_out,
        skipped=skipped,
    )


def _too_few(source: str, pairs: int, skipped: int, settings: WindowSettings) -> CorpusError:
    besides = f" ({skipped:,} more have a prompt that alone fills a window of {settings.length:,} tokens)"
    hint = f"This works: windows.held_out: {pairs - 1} or fewer; or more pairs." if pairs > 1 else "Give more pairs."
    return CorpusError(
        f"{source} has {pairs:,} usable pairs{besides if skipped else ''}, but {settings.held_out} held-out ones and "
        f"one to train on need {settings.held_out + 1:,}.",
        f"{hint} Longer windows use more of them." if skipped else hint,
    )
