"""Which stretches of a text are read? Disjoint windows of one length, some held out, spread evenly over the whole.

Held-out windows depend on the text's length and the recipe alone, not on a seed: every replicate, arm and order keeps
the same ones, and no training window shares a single token with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from frostline.corpus.order import below, permutation, positions_of_step, raw_numbers
from frostline.errors import CorpusError
from frostline.recipe import WindowSettings

HELD_OUT_KEY = 0
"""The choice of the held-out windows is the same in every replicate."""


@dataclass(frozen=True)
class Rows:
    """Some windows, laid out as the rows of a batch."""

    input_ids: NDArray[np.int64]
    """[rows, length]"""
    labels: NDArray[np.int64]
    """[rows, length], -100 where the loss does not count."""
    attention_mask: NDArray[np.int64] | None
    """[rows, length], None where every position holds a token."""


def choose_held_out(windows: int, held_out: int) -> NDArray[np.int64]:
    """`held_out` of the windows 0 to windows - 1, sorted: one in each of as many equal stretches."""
    borders = np.arange(held_out + 1, dtype=np.int64) * windows // held_out
    sizes = np.diff(borders)
    drawn = raw_numbers(HELD_OUT_KEY, "held-out", 0, held_out) % sizes.astype(np.uint64)
    return borders[:-1] + drawn.astype(np.int64)


@dataclass(frozen=True)
class TextWindows:
    """The windows of one long text; a window is named by the offset of its first token."""

    ids: NDArray[np.unsignedinteger]
    """[tokens], mapped from disk."""
    length: int
    order: Literal["epochs", "random"]
    training: NDArray[np.int64]
    """First tokens of the training windows, in the order of the text."""
    held_out: NDArray[np.int64]
    """First tokens of the held-out windows, in the order of the text."""

    @cached_property
    def training_stretches(self) -> NDArray[np.int64]:
        """[stretches, 2]: first token and end of what lies between the held-out windows, empty stretches left out."""
        begins = np.concatenate(([0], self.held_out + self.length))
        ends = np.concatenate((self.held_out, [self.ids.size]))
        stretches = np.stack((begins, ends), axis=1)
        return stretches[ends > begins]

    def ids_of_step(self, seed: int, step: int, size: int) -> NDArray[np.int64]:
        """The `size` windows of step `step`."""
        if self.order == "epochs":
            return self.training[positions_of_step(seed, step, size, self.training.size)]
        begins, ends = self.training_stretches.T
        offsets = np.maximum(ends - begins - self.length + 1, 0)
        before = np.cumsum(offsets) - offsets
        drawn = below(seed, "offset", step, int(offsets.sum()), size)
        stretch = np.searchsorted(before + offsets, drawn, side="right")
        chosen: NDArray[np.int64] = begins[stretch] + drawn - before[stretch]
        return chosen

    def gather(self, window_ids: NDArray[np.int64]) -> Rows:
        """The tokens of the windows that begin at `window_ids`."""
        rows = self.ids[window_ids[:, np.newaxis] + np.arange(self.length)].astype(np.int64)
        return Rows(rows, rows.copy(), None)

    def prompts(self, seed: int, count: int, length: int) -> NDArray[np.int64]:
        """[count, length] tokens from held-out windows: their starts, and only when these are used up later places."""
        if length > self.length:
            raise CorpusError(
                f"prompts of {length:,} tokens do not fit into held-out windows of {self.length:,}.",
                "Shorten measures.sampling.prompt_tokens or lengthen windows.length.",
            )
        slots = self.length // length
        rounds = -(-count // self.held_out.size)
        starts = [
            self.held_out[permutation(seed, "prompts", number, self.held_out.size)] + number % slots * length
            for number in range(rounds)
        ]
        chosen = np.concatenate([np.empty(0, dtype=np.int64), *starts])[:count]
        return self.ids[chosen[:, np.newaxis] + np.arange(length)].astype(np.int64)


def lay_out_windows(ids: NDArray[np.unsignedinteger], settings: WindowSettings, source: str) -> TextWindows:
    """Cut `ids` into windows and hold some out. Raises `CorpusError` with numbers if the text is too short."""
    length, held_out = settings.length, settings.held_out
    windows = ids.size // length
    if windows < held_out + 1:
        raise _too_short(source, ids.size, settings)
    chosen = choose_held_out(windows, held_out)
    training = np.delete(np.arange(windows, dtype=np.int64), chosen)
    return TextWindows(ids, length, settings.order, training * length, chosen * length)


def _too_short(source: str, tokens: int, settings: WindowSettings) -> CorpusError:
    needed = (settings.held_out + 1) * settings.length
    fitting_length = tokens // (settings.held_out + 1)
    fitting_held_out = tokens // settings.length - 1
    choices = []
    if fitting_held_out >= 1:
        choices.append(f"windows.held_out: {fitting_held_out} or fewer")
    if fitting_length >= 2:
        choices.append(f"windows.length: {fitting_length} or less")
    work = " or ".join(choices)
    return CorpusError(
        f"{source} has {tokens:,} tokens, but {settings.held_out} held-out windows and one to train on, "
        f"of {settings.length:,} tokens each, need {needed:,}.",
        f"This works: {work}; or a longer text." if work else "Give a longer text.",
    )
