"""Which stretches of a text are read? Disjoint windows of one length, some held out, spread evenly over the whole.

Held-out windows depend on the text's length and the recipe alone, not on a seed: every replicate, arm and order keeps
the same ones, and no training window shares a single token of the text with them.

Where the model expects something before a text (`<bos>`), every window begins with it, and holds that much less text:
what is disjoint, drawn or named is the window's text. The beginning is given and never learnt; the first token of the
text is predicted from it.
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

NOT_COUNTED = -100
"""Label of a position that the loss leaves out (the convention of PyTorch and transformers)."""
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


def choose_held_out(windows: int, held_out: int, fit: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """`held_out` of the windows 0 to windows - 1, sorted: one in each of as many equal stretches.

    `fit` says which windows may be held out; `held_out` of them or more. One that may not is replaced by the next one
    of its stretch that may, and where none of it may, by one that is free elsewhere.
    """
    borders = np.arange(held_out + 1, dtype=np.int64) * windows // held_out
    sizes = np.diff(borders)
    drawn = raw_numbers(HELD_OUT_KEY, "held-out", 0, held_out) % sizes.astype(np.uint64)
    chosen = borders[:-1] + drawn.astype(np.int64)
    if fit is None or bool(fit[chosen].all()):
        return chosen
    found: list[int] = []
    for first, end, one in zip(borders[:-1].tolist(), borders[1:].tolist(), chosen.tolist(), strict=True):
        free = np.flatnonzero(fit[first:end]) + first
        if free.size:
            found.append(int(free[np.searchsorted(free, one) % free.size]))
    others = np.setdiff1d(np.flatnonzero(fit), found)
    missing = held_out - len(found)
    found += others[np.arange(missing) * others.size // max(missing, 1)].tolist()
    return np.sort(np.array(found, dtype=np.int64))


@dataclass(frozen=True)
class TextWindows:
    """The windows of one long text; a window is named by the offset of its first token."""

    ids: NDArray[np.unsignedinteger]
    """[tokens], mapped from disk."""
    length: int
    """Tokens of text in a window."""
    order: Literal["epochs", "random"]
    training: NDArray[np.int64]
    """First tokens of the training windows, in the order of the text."""
    held_out: NDArray[np.int64]
    """First tokens of the held-out windows, in the order of the text."""
    beginning: tuple[int, ...] = ()
    """Token ids before the text of every window."""

    @property
    def width(self) -> int:
        """Positions of a row: the beginning and the text."""
        return len(self.beginning) + self.length

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
        rows = self._begun(window_ids, self.length)
        labels = rows.copy()
        labels[:, : len(self.beginning)] = NOT_COUNTED
        return Rows(rows, labels, None)

    def prompts(self, seed: int, count: int, length: int) -> NDArray[np.int64]:
        """[count, beginning + length]: `length` tokens of held-out windows behind the beginning.

        They are the windows' starts, and only when these are used up later places.
        """
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
        return self._begun(chosen, length)

    def _begun(self, starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """[starts, beginning + length]: the beginning and `length` tokens of the text from each of `starts`."""
        text: NDArray[np.int64] = self.ids[starts[:, np.newaxis] + np.arange(length)].astype(np.int64)
        if not self.beginning:
            return text
        before = np.broadcast_to(np.array(self.beginning, dtype=np.int64), (len(starts), len(self.beginning)))
        begun: NDArray[np.int64] = np.concatenate((before, text), axis=1)
        return begun


def lay_out_windows(
    ids: NDArray[np.unsignedinteger],
    settings: WindowSettings,
    source: str,
    beginning: tuple[int, ...] = (),
    repeats: NDArray[np.int64] | None = None,
) -> TextWindows:
    """Cut `ids` into windows that start with `beginning`, and hold some out.

    No window that touches one of `repeats` ([spans, 2], first token and end of rows that stand more than once) is held
    out: its copy would be trained on. Raises `CorpusError` with numbers if the text is too short, or the windows for
    their beginning.
    """
    length, held_out = settings.length - len(beginning), settings.held_out
    if length < 1:
        raise CorpusError(
            f"windows of {settings.length} tokens have no room for text behind the {len(beginning)} that the tokenizer "
            "puts before every text.",
            f"Set windows.length to {len(beginning) + 2} or more, or windows.beginning to none.",
        )
    windows = ids.size // length
    if windows < held_out + 1:
        raise _too_short(source, ids.size, settings, len(beginning))
    fit = None if repeats is None or repeats.size == 0 else _touched_by_none(windows, length, repeats)
    require_fit(fit, held_out, source)
    chosen = choose_held_out(windows, held_out, fit)
    training = np.delete(np.arange(windows, dtype=np.int64), chosen)
    return TextWindows(ids, length, settings.order, training * length, chosen * length, beginning)


def require_fit(fit: NDArray[np.bool_] | None, held_out: int, source: str) -> None:
    """Raise `CorpusError` where fewer than `held_out` windows may be held out, because rows repeat."""
    if fit is not None and (free := int(np.count_nonzero(fit))) < held_out:
        raise CorpusError(
            f"{source} repeats so many rows that only {free:,} of its {fit.size:,} windows hold none of them, and "
            f"{held_out:,} are to be held out: training would read them.",
            "Set corpus.duplicates to drop" + (f", or windows.held_out to {free} or fewer." if free else "."),
        )


def _touched_by_none(windows: int, length: int, spans: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which windows of `length` tokens share no token with one of `spans`."""
    spans = spans[spans[:, 1] > spans[:, 0]]
    change = np.zeros(windows + 2, dtype=np.int64)
    np.add.at(change, np.minimum(spans[:, 0] // length, windows + 1), 1)
    np.add.at(change, np.minimum((spans[:, 1] - 1) // length + 1, windows + 1), -1)
    untouched: NDArray[np.bool_] = np.cumsum(change)[:windows] == 0
    return untouched


def _too_short(source: str, tokens: int, settings: WindowSettings, beginning: int) -> CorpusError:
    text = settings.length - beginning
    needed = (settings.held_out + 1) * text
    fitting_length = tokens // (settings.held_out + 1) + beginning
    fitting_held_out = tokens // text - 1
    choices = []
    if fitting_held_out >= 1:
        choices.append(f"windows.held_out: {fitting_held_out} or fewer")
    if fitting_length >= beginning + 2:
        choices.append(f"windows.length: {fitting_length} or less")
    work = " or ".join(choices)
    return CorpusError(
        f"{source} has {tokens:,} tokens, but {settings.held_out} held-out windows and one to train on, "
        f"of {text:,} tokens each, need {needed:,}.",
        f"This works: {work}; or a longer text." if work else "Give a longer text.",
    )
