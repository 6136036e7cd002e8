"""Which conversations are held out, raced on, trained on, so that none of one kind has a copy in another?

Copies are windows of the same tokens. What several answers of one row were read from is of one row, and so no more
apart than copies.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from frostline.corpus.conversations import ConversationWindows
from frostline.corpus.repeats import window_hashes
from frostline.corpus.windows import choose_apart, set_apart_for_race
from frostline.errors import CorpusError
from frostline.recipe import WindowSettings

_TOKENS_AT_ONCE = 1 << 22


def keep_apart(
    windows: ConversationWindows, source: str, settings: WindowSettings, *, drop: bool, within: int | None, race: int
) -> tuple[ConversationWindows, int]:
    """`windows` of which none that is held out has a copy to train on, and how many repeat an earlier one.

    `race` of those to train on are set apart in the same way. `drop` leaves out what repeats; with `within`, what is
    held out follows from the first so many tokens alone. Raises `CorpusError` if too few different ones are there.
    """
    numbers = np.sort(np.concatenate((windows.training, windows.held_out)))
    size = max(1, _TOKENS_AT_ONCE // windows.width)
    begins = range(0, numbers.size, size)
    rows = (windows.gather(numbers[at : at + size], windows.width) for at in begins)
    hashes = np.concatenate([window_hashes(own.input_ids) for own in rows])
    firsts = np.unique(hashes, return_index=True)[1]
    repeated, held_out = int(numbers.size - firsts.size), int(windows.held_out.size)
    if drop and repeated:
        numbers, hashes = numbers[np.sort(firsts)], hashes[np.sort(firsts)]
    among = numbers.size if within is None else _windows_within(windows, numbers, within)
    if among <= held_out < numbers.size:  # the shortest variant itself is refused
        within, among = None, numbers.size
    if among <= held_out:
        raise CorpusError(
            f"{source} has {among:,} different conversations, but {held_out:,} held-out ones and one to "
            f"train on need {held_out + 1:,}.",
            "Hold out fewer (windows.held_out), or give more of them.",
        )
    sources = windows.conversations.rows[windows.numbers[numbers]]
    fit = _stand_once(hashes[:among]) & _stand_once(sources[:among])

    def copies(chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.isin(hashes, hashes[chosen]) | np.isin(sources, sources[chosen])

    chosen, training = choose_apart(numbers.size, held_out, fit, copies, source, None if within is None else among)
    raced, training = set_apart_for_race(training, race, _stand_once(hashes), copies, source, settings)
    besides = int(numbers.size - chosen.size - training.size - raced.size)
    apart = replace(windows, training=numbers[training], held_out=numbers[chosen], race=numbers[raced], copies=besides)
    return apart, repeated


def _windows_within(windows: ConversationWindows, numbers: NDArray[np.int64], tokens: int) -> int:
    """How many of the windows `numbers` are of conversations that lie whole in the first `tokens` tokens."""
    ends = np.append(windows.conversations.starts[1:], windows.ids.size)
    return int(np.count_nonzero(ends[windows.numbers[numbers]] <= tokens))


def _stand_once(values: NDArray[np.int64] | NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of `values` no other one equals."""
    _, which, times = np.unique(values, return_inverse=True, return_counts=True)
    once: NDArray[np.bool_] = times[which] == 1
    return once
