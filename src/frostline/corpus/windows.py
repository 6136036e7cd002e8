"""Which stretches of a text are read? Disjoint windows of one length, some held out, spread evenly over the whole.

Held-out windows depend on the text's length and the recipe alone, not on a seed: every replicate, arm and order keeps
the same ones, and no training window shares a single token of the text with them.

Where the model expects something before a text (`<bos>`), every window begins with it, and holds that much less text:
what is disjoint, drawn or named is the window's text. The beginning is given and never learnt; the first token of the
text is predicted from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
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
"""The choice of the held-out windows is the same in every replicate, and so is that of the windows of a race."""


@dataclass(frozen=True)
class Rows:
    """Some windows, laid out as the rows of a batch."""

    input_ids: NDArray[np.int64]
    """[rows, length]"""
    labels: NDArray[np.int64]
    """[rows, length], -100 where the loss does not count."""
    attention_mask: NDArray[np.int64] | None
    """[rows, length], None where every position holds a token."""
    lengths: tuple[int, ...] | None = None
    """Tokens of each; None where every position holds one."""
    widths: tuple[int, ...] | None = None
    """The width of each beside no other; None where all have that of the rows."""


def choose_held_out(
    windows: int, held_out: int, fit: NDArray[np.bool_] | None = None, purpose: str = "held-out"
) -> NDArray[np.int64]:
    """`held_out` of the windows 0 to windows - 1, sorted: one in each of as many equal stretches, drawn by `purpose`.

    `fit` says which windows may be held out; `held_out` of them or more. One that may not is replaced by the next one
    of its stretch that may, and where none of it may, by one that is free elsewhere.
    """
    borders = np.arange(held_out + 1, dtype=np.int64) * windows // held_out
    sizes = np.diff(borders)
    drawn = raw_numbers(HELD_OUT_KEY, purpose, 0, held_out) % sizes.astype(np.uint64)
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
    apart: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """First tokens of the windows that are neither: they hold copies of held-out rows."""
    race: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """First tokens of the windows on which learning rates are raced, in the order of the text."""

    @property
    def copies(self) -> int:
        """Number of windows that serve nothing."""
        return int(self.apart.size)

    @property
    def width(self) -> int:
        """Positions of a row: the beginning and the text."""
        return len(self.beginning) + self.length

    @cached_property
    def training_stretches(self) -> NDArray[np.int64]:
        """[stretches, 2]: first token and end of what training may read, empty stretches left out."""
        untrained = np.sort(np.concatenate((self.held_out, self.apart, self.race)))
        begins = np.concatenate(([0], untrained + self.length))
        ends = np.concatenate((untrained, [self.ids.size]))
        stretches = np.stack((begins, ends), axis=1)
        return stretches[ends > begins]

    @property
    def held_out_places(self) -> NDArray[np.int64]:
        """The token in the middle of each held-out window."""
        places: NDArray[np.int64] = self.held_out + self.length // 2
        return places

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
        chosen, within = self._prompt_places(seed, count, length)
        return self._begun(chosen + within, length)

    def true_continuations(self, seed: int, count: int, length: int, new_tokens: int) -> list[list[int]]:
        """What follows each of the `prompts` in its held-out window: `new_tokens` tokens, or as many as are left."""
        chosen, within = self._prompt_places(seed, count, length)
        begins = chosen + within + length
        ends = np.minimum(begins + new_tokens, chosen + self.length)
        return [self.ids[begin:end].tolist() for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]

    def _prompt_places(self, seed: int, count: int, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First tokens of the windows that prompts are taken from, and where in its window each begins.

        Windows' starts come first, as most of the text follows them.
        """
        if length > self.length:
            raise CorpusError(
                f"prompts of {length:,} tokens do not fit into held-out windows of {self.length:,}.",
                "Shorten measures.sampling.prompt_tokens or lengthen windows.length.",
            )
        slots = self.length // length
        size = self.held_out.size
        rounds = -(-count // size)
        windows = [self.held_out[permutation(seed, "prompts", number, size)] for number in range(rounds)]
        within = [np.full(size, number % slots * length, dtype=np.int64) for number in range(rounds)]
        none = np.empty(0, dtype=np.int64)
        return np.concatenate([none, *windows])[:count], np.concatenate([none, *within])[:count]

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
    within: int | None = None,
    race: int = 0,
) -> TextWindows:
    """Cut `ids` into windows that start with `beginning`, hold some out, and set `race` of the others apart.

    `repeats` ([spans, 3]: first token, end and number of each row that stands more than once; copies have one number)
    are not held out where there is enough else; where there is not, training does without their copies. With `within`
    the held-out windows follow from the first so many tokens alone. Raises `CorpusError` with numbers if the text is
    too short, or the windows for their beginning.
    """
    length, held_out = settings.length - len(beginning), settings.held_out
    if length < 1:
        raise CorpusError(
            f"windows of {settings.length} tokens have no room for text behind the {len(beginning)} that the tokenizer "
            "puts before every text.",
            f"Set windows.length to {len(beginning) + 2} or more, or windows.beginning to none.",
        )
    windows, looked_at = ids.size // length, ids.size if within is None else min(within, ids.size)
    if windows < held_out + 1:
        raise _too_short(source, ids.size, settings, len(beginning))
    if windows < held_out + race + 1:
        raise too_few_to_race(source, windows - held_out, settings)
    if looked_at // length < held_out + 1:  # the shortest variant itself is refused
        within, looked_at = None, ids.size
    repeated = np.empty((0, 3), dtype=np.int64) if repeats is None else repeats[repeats[:, 1] > repeats[:, 0]]
    first, last, numbers = repeated[:, 0] // length, (repeated[:, 1] - 1) // length, repeated[:, 2]

    def copies(chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
        holds = np.searchsorted(chosen, last, side="right") > np.searchsorted(chosen, first)
        copied = np.isin(numbers, numbers[holds])
        return _touched(windows, first[copied], last[copied])

    unfit = np.ones(numbers.size, dtype=np.bool_)
    if within is not None:
        inside = repeated[:, 0] < looked_at
        seen, times = np.unique(numbers[inside], return_counts=True)
        unfit = inside & np.isin(numbers, seen[times > 1])
    fit = ~_touched(windows, first[unfit], last[unfit])
    among = None if within is None else looked_at // length
    chosen, training = choose_apart(windows, held_out, fit, copies, source, among)
    raced, training = set_apart_for_race(training, race, fit, copies, source, settings)
    apart = np.setdiff1d(np.arange(windows, dtype=np.int64), np.concatenate((chosen, training, raced)))
    return TextWindows(
        ids,
        length,
        settings.order,
        training * length,
        chosen * length,
        beginning,
        apart * length,
        race=raced * length,
    )


def choose_apart(
    windows: int,
    held_out: int,
    fit: NDArray[np.bool_],
    copies: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
    source: str,
    among: int | None = None,
    purpose: str = "held-out",
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(windows to hold out, windows to train on), both sorted, of which neither holds a copy of the other.

    `fit` says which windows hold nothing that stands elsewhere, too: these are held out where there are enough. Where
    there are not, any may be, and training does without what `copies` says of them. `among`: only the first so many
    are held out, and `fit` knows of these alone. Raises `CorpusError` if nothing is left to train on.
    """
    candidates = windows if among is None else among
    enough = int(np.count_nonzero(fit[:candidates])) >= held_out
    chosen = choose_held_out(candidates, held_out, fit[:candidates] if enough else None, purpose)
    trained = np.ones(windows, dtype=np.bool_) if enough and among is None else ~copies(chosen)
    trained[chosen] = False
    if not trained.any():
        raise CorpusError(
            f"{source} repeats so many rows that every window besides the {held_out:,} held-out ones holds a copy of "
            "theirs: nothing is left to train on.",
            "Set corpus.duplicates to drop, or windows.held_out to fewer.",
        )
    return chosen, np.flatnonzero(trained)


def set_apart_for_race(
    training: NDArray[np.int64],
    race: int,
    fit: NDArray[np.bool_],
    copies: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
    source: str,
    settings: WindowSettings,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(`race` of the windows `training`, what is left to train on), chosen as held-out windows are.

    Raises `CorpusError` where there are too few.
    """
    if not race:
        return np.empty(0, dtype=np.int64), training
    if training.size < race + 1:
        raise too_few_to_race(source, int(training.size), settings)
    chosen, left = choose_apart(
        training.size,
        race,
        fit[training],
        lambda places: copies(training[places])[training],
        source,
        purpose="race",
    )
    return training[chosen], training[left]


def too_few_to_race(source: str, left: int, settings: WindowSettings) -> CorpusError:
    """What to say of a corpus whose windows do not suffice for a race of learning rates."""
    fewer = f"Set windows.race to {left - 1} or fewer" if left > 1 else "Hold out fewer (windows.held_out)"
    return CorpusError(
        f"{source} has {left:,} windows besides the {settings.held_out:,} held-out ones, but a race of learning rates "
        f"sets {settings.race:,} of them apart and leaves at least one to train on.",
        f"{fewer}, or name a learning rate in place of best.",
    )


def _touched(windows: int, first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `windows` windows lie between a `first` one and its `last`."""
    change = np.zeros(windows + 2, dtype=np.int64)
    np.add.at(change, np.minimum(first, windows + 1), 1)
    np.add.at(change, np.minimum(last + 1, windows + 1), -1)
    touched: NDArray[np.bool_] = np.cumsum(change)[:windows] > 0
    return touched


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
