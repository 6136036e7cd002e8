"""Which stretch of a conversation is a window? All of it, or as much as fits, up to the end of its last answer.

Each conversation is a window of its own, filled up behind its end to the width of the widest beside it; the loss
counts what is learnt. One that is too long
loses whole turns from the front, behind the system prompt; where the last turns alone are too long, or their template
does not allow it, it loses its beginning.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from frostline.corpus.batch import widths_of
from frostline.corpus.order import below, permutation, positions_of_step
from frostline.corpus.windows import NOT_COUNTED, Rows, choose_held_out
from frostline.errors import CorpusError
from frostline.recipe import WindowSettings

TooLong = Literal["cut", "drop", "refuse"]
CONVERSATIONS_FILE, SPANS_FILE, CUTS_FILE = "conversations.bin", "learnt.bin", "cuts.bin"


@dataclass(frozen=True)
class Conversations:
    """Where conversations stand in a token file, and what is learnt of them, counted from the start of each."""

    starts: NDArray[np.int64]
    """[conversations] first token."""
    rows: NDArray[np.int64]
    """[conversations] number of the row of the source, counted from 0."""
    heads: NDArray[np.int64]
    """[conversations] tokens that stay when turns are left out."""
    spans: NDArray[np.int64]
    """[spans, 2] first token and end of what is learnt, of one conversation after the other."""
    span_borders: NDArray[np.int64]
    """[conversations + 1] the first of its `spans`."""
    cuts: NDArray[np.int64]
    """[cuts] first token of a turn that a window may go on with."""
    cut_borders: NDArray[np.int64]
    """[conversations + 1] the first of its `cuts`."""

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.starts.size)

    def spans_of(self, number: int) -> NDArray[np.int64]:
        """[spans, 2] what is learnt of one conversation."""
        return self.spans[self.span_borders[number] : self.span_borders[number + 1]]

    def cuts_of(self, number: int) -> NDArray[np.int64]:
        """[cuts] places at which one conversation may be gone on with."""
        return self.cuts[self.cut_borders[number] : self.cut_borders[number + 1]]

    def first(self, count: int) -> Conversations:
        """The first `count` of them."""
        spans, cuts = int(self.span_borders[count]), int(self.cut_borders[count])
        return Conversations(
            self.starts[:count],
            self.rows[:count],
            self.heads[:count],
            self.spans[:spans],
            self.span_borders[: count + 1],
            self.cuts[:cuts],
            self.cut_borders[: count + 1],
        )

    def save(self, folder: Path) -> None:
        """Write them as three files of little-endian numbers of 64 bits."""
        table = np.stack(
            (self.starts, self.rows, self.heads, np.diff(self.span_borders), np.diff(self.cut_borders)), axis=1
        )
        for name, values in ((CONVERSATIONS_FILE, table), (SPANS_FILE, self.spans), (CUTS_FILE, self.cuts)):
            (folder / name).write_bytes(values.astype("<i8").tobytes())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote."""
        table, spans, cuts = (
            np.fromfile(folder / name, dtype="<i8").astype(np.int64)
            for name in (CONVERSATIONS_FILE, SPANS_FILE, CUTS_FILE)
        )
        return cls.of(table.reshape(-1, 5), spans.reshape(-1, 2), cuts)

    @classmethod
    def of(cls, table: NDArray[np.int64], spans: NDArray[np.int64], cuts: NDArray[np.int64]) -> Self:
        """From a row for each: first token, row of the source, head, number of spans, number of cuts."""
        starts, rows, heads, span_counts, cut_counts = table.T
        borders = [np.concatenate(([0], np.cumsum(counts))).astype(np.int64) for counts in (span_counts, cut_counts)]
        return cls(starts, rows, heads, spans, borders[0], cuts, borders[1])


@dataclass(frozen=True)
class ConversationWindows:
    """Conversations as windows of at most `length` tokens; a window is named by the number of its conversation."""

    ids: NDArray[np.unsignedinteger]
    """[tokens] of all conversations, end to end, mapped from disk."""
    conversations: Conversations
    numbers: NDArray[np.int64]
    """[windows] the conversation that each window holds."""
    kept: NDArray[np.int64]
    """[windows] tokens from the conversation's beginning, before turns are left out; 0 where none are."""
    resumes: NDArray[np.int64]
    """[windows] the token, counted from the conversation's beginning, at which it goes on after these."""
    lengths: NDArray[np.int64]
    """[windows] tokens of the window."""
    width: int
    """Tokens of the longest window."""
    padding_id: int
    order: Literal["epochs", "random"]
    training: NDArray[np.int64]
    held_out: NDArray[np.int64]
    skipped: int
    """Conversations left out because nothing learnt has a token before it in the window."""
    cut: int
    """Conversations of which a part is left out."""
    dropped: int
    """Conversations left out because they are too long."""
    length: int
    """Tokens of the recipe's window."""
    copies: int = 0
    """Windows that serve nothing: they hold copies of held-out rows."""
    race: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Windows on which learning rates are raced."""

    @property
    def layout(self) -> str:
        """Hash of what is cut and dropped; '' where nothing is."""
        if not self.cut and not self.dropped:
            return ""
        table = np.stack((self.numbers, self.kept, self.resumes, self.lengths), axis=1)
        return hashlib.sha256(table.astype("<i8").tobytes()).hexdigest()

    @property
    def training_stretches(self) -> NDArray[np.int64]:
        """[stretches, 2]: first token and end of what the training windows hold, empty stretches left out."""
        starts = self.conversations.starts[self.numbers[self.training]]
        kept, resumes, lengths = self.kept[self.training], self.resumes[self.training], self.lengths[self.training]
        heads = np.stack((starts, starts + kept), axis=1)
        rests = np.stack((starts + resumes, starts + resumes + lengths - kept), axis=1)
        stretches = np.stack((heads, rests), axis=1).reshape(-1, 2)
        return stretches[stretches[:, 1] > stretches[:, 0]]

    @property
    def held_out_places(self) -> NDArray[np.int64]:
        """The row of the source, counted from 0, that each held-out window is from."""
        return self.conversations.rows[self.numbers[self.held_out]]

    def ids_of_step(self, seed: int, step: int, size: int) -> NDArray[np.int64]:
        """The `size` windows of step `step`."""
        if self.order == "epochs":
            return self.training[positions_of_step(seed, step, size, self.training.size)]
        return self.training[below(seed, "offset", step, self.training.size, size)]

    def gather(self, window_ids: NDArray[np.int64], width: int | None = None) -> Rows:
        """The tokens of the windows `window_ids`, padded on the right: to `width`, else to that of the widest."""
        lengths = self.lengths[window_ids]
        widths = widths_of(lengths, self.length)
        place = np.arange(int(widths.max(initial=0)) if width is None else width)
        is_token = place < lengths[:, np.newaxis]
        inside = np.minimum(self._tokens_at(window_ids, place), self.ids.size - 1)
        input_ids = np.where(is_token, self.ids[inside].astype(np.int64), self.padding_id)
        counted = np.zeros_like(is_token)
        for row, window in enumerate(window_ids.tolist()):
            for begin, end in self._learnt_places(window):
                counted[row, begin:end] = True
        labels = np.where(counted & is_token, input_ids, NOT_COUNTED)
        if bool(is_token.all()):
            return Rows(input_ids, labels, None)
        return Rows(input_ids, labels, is_token.astype(np.int64), tuple(lengths.tolist()), tuple(widths.tolist()))

    def prompts(self, seed: int, count: int, length: int) -> NDArray[np.int64]:
        """[count, length] tokens of held-out windows: the end of what stands before the last answer.

        Where less than `length` stands before it, the window's beginning. Raises `CorpusError` if no held-out window
        is long enough.
        """
        chosen, begins = self._prompt_places(seed, count, length)
        places = begins[:, np.newaxis] + np.arange(length)
        tokens: NDArray[np.int64] = self.ids[self._tokens_at(chosen, places)].astype(np.int64)
        return tokens

    def true_continuations(self, seed: int, count: int, length: int, new_tokens: int) -> list[list[int]]:
        """What follows each of the `prompts` in its answer: `new_tokens` tokens, or as many as are left of it."""
        continuations = []
        for window, begin in zip(*(own.tolist() for own in self._prompt_places(seed, count, length)), strict=True):
            end = self._learnt_places(window)[-1][1]
            places = np.arange(begin + length, min(begin + length + new_tokens, end), dtype=np.int64)[np.newaxis]
            continuations.append(self.ids[self._tokens_at(np.array([window]), places)][0].tolist())
        return continuations

    def _prompt_places(self, seed: int, count: int, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Windows that prompts are taken from, and where in its window each begins."""
        long_enough = self.held_out[self.lengths[self.held_out] >= length]
        if long_enough.size == 0:
            longest = int(self.lengths[self.held_out].max())
            raise CorpusError(
                f"prompts of {length:,} tokens are longer than every held-out conversation (up to {longest:,}).",
                f"Set measures.sampling.prompt_tokens to {longest} or less.",
            )
        rounds = -(-count // long_enough.size)
        shuffled = [long_enough[permutation(seed, "prompts", number, long_enough.size)] for number in range(rounds)]
        chosen = np.concatenate([np.empty(0, dtype=np.int64), *shuffled])[:count]
        answers = np.array([self._learnt_places(window)[-1][0] for window in chosen.tolist()], dtype=np.int64)
        return chosen, np.maximum(answers - length, 0)

    def _tokens_at(self, window_ids: NDArray[np.int64], place: NDArray[np.int64]) -> NDArray[np.int64]:
        """[windows, places] of the token file."""
        kept = self.kept[window_ids, np.newaxis]
        skipped = (self.resumes - self.kept)[window_ids, np.newaxis]
        starts = self.conversations.starts[self.numbers[window_ids], np.newaxis]
        return np.asarray(starts + place + np.where(place < kept, 0, skipped), dtype=np.int64)

    def _learnt_places(self, window: int) -> list[tuple[int, int]]:
        """First place and end, in the window, of what is learnt."""
        kept, resume, length = int(self.kept[window]), int(self.resumes[window]), int(self.lengths[window])
        places = []
        for begin, end in self.conversations.spans_of(int(self.numbers[window])).tolist():
            if begin < kept:
                places.append((begin, min(end, kept)))
            moved = max(begin, resume) - resume + kept, min(end - resume + kept, length)
            if moved[1] > moved[0]:
                places.append(moved)
        return places


def lay_out_conversations(
    ids: NDArray[np.unsignedinteger],
    conversations: Conversations,
    settings: WindowSettings,
    source: str,
    padding_id: int,
    too_long: TooLong = "cut",
    opening: int = 0,
) -> ConversationWindows:
    """Make each of `conversations` a window and hold some out; the first `opening` tokens are kept in each.

    Raises `CorpusError` with numbers if there are too few, or if one is too long and that is to be refused.
    """
    length = settings.length
    ends = np.append(conversations.starts[1:], ids.size)
    lengths = ends - conversations.starts
    kept, resumes = np.zeros_like(lengths), np.zeros_like(lengths)
    long = np.flatnonzero(lengths > length)
    if too_long == "refuse" and long.size:
        raise TooLongError(int(conversations.rows[long[0]]), int(lengths[long[0]]), int(long.size), length)
    if too_long == "cut":
        for number in long.tolist():
            kept[number], resumes[number], lengths[number] = _cut(conversations, number, length, opening)
    # At least one token that is learnt must have another before it.
    last_ends = conversations.spans[conversations.span_borders[1:] - 1, 1] if conversations.count else lengths
    fits = (lengths <= length) & (lengths >= 2) & (last_ends >= 2)
    numbers = np.flatnonzero(fits)
    dropped = int(long.size) if too_long == "drop" else 0
    skipped = conversations.count - int(numbers.size) - dropped
    if numbers.size < settings.held_out + 1:
        raise _too_few(source, int(numbers.size), dropped, settings)
    held_out = choose_held_out(int(numbers.size), settings.held_out)
    return ConversationWindows(
        ids=ids,
        conversations=conversations,
        numbers=numbers,
        kept=kept[numbers],
        resumes=resumes[numbers],
        lengths=lengths[numbers],
        width=int(lengths[numbers].max()),
        padding_id=padding_id,
        order=settings.order,
        training=np.delete(np.arange(numbers.size, dtype=np.int64), held_out),
        held_out=held_out,
        skipped=skipped,
        cut=int(long.size) if too_long == "cut" else 0,
        dropped=dropped,
        length=length,
    )


class TooLongError(CorpusError):
    """A conversation is longer than a window, and the recipe says that this is an error."""

    def __init__(self, row: int, tokens: int, count: int, length: int, place: str = "") -> None:
        others = f", and {count - 1:,} more are too long" if count > 1 else ""
        super().__init__(
            f"{place or f'row {row + 1:,}'}: the conversation has {tokens:,} tokens, more than a window of "
            f"{length:,}{others}.",
            "Lengthen windows.length, or say 'too_long: cut' or 'too_long: drop'.",
        )
        self.row, self.tokens, self.count, self.length = row, tokens, count, length

    def placed(self, place: str) -> TooLongError:
        """The same with the row's place in its file."""
        return TooLongError(self.row, self.tokens, self.count, self.length, place)


def _cut(conversations: Conversations, number: int, length: int, opening: int) -> tuple[int, int, int]:
    """(tokens kept of the beginning, the token at which it goes on, tokens in all), ending with the last answer."""
    last_begin, end = conversations.spans_of(number)[-1].tolist()
    if end <= length:
        return 0, 0, end
    head = max(int(conversations.heads[number]), opening)
    for resume in conversations.cuts_of(number).tolist():
        if resume <= last_begin and head + end - resume <= length:
            return head, resume, head + end - resume
    # Turns cannot be left out whole: the system prompt stays if the last answer fits beside it.
    kept = head if head and head + end - last_begin < length else min(opening, length - 2)
    return kept, end - (length - kept), length


def _too_few(source: str, usable: int, dropped: int, settings: WindowSettings) -> CorpusError:
    besides = f" ({dropped:,} more are longer than a window of {settings.length:,} tokens)" if dropped else ""
    hint = (
        f"This works: windows.held_out: {usable - 1} or fewer; or more of them." if usable > 1 else "Give more of them."
    )
    return CorpusError(
        f"{source} has {usable:,} usable conversations{besides}, but {settings.held_out} held-out ones and "
        f"one to train on need {settings.held_out + 1:,}.",
        f"{hint} Longer windows use more of them." if dropped else hint,
    )
