"""Who gains by training? The fall of the held-out loss on parts of the text: files, common and rare tokens, copies.

A mean over all tokens hides who pays for it. Each part's loss is the mean over its own tokens, before training minus
after it; beside the baseline's it is paired by seed. Files and copies are told apart by window, tokens by the rank of
their count in the training text.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from frostline.stats import scalars
from frostline.stats.arm_run import ArmRun
from frostline.stats.estimate import Estimate
from frostline.stats.pairs import Pairs
from frostline.stats.runs import VariantRun
from frostline.stats.trade import over_seeds

MOST_FILES = 8
"""Files that stand by themselves, those with most held-out windows; the others are taken together."""

Chosen = NDArray[np.bool_]


@dataclass(frozen=True)
class GainOfPart:
    """What an arm gained on a part of the held-out text: by file, by how common its tokens are, or by copies."""

    split: str
    """`file`, `frequency` (rank of the token's count in the training text), or `copies`."""
    part: str
    """File, class of tokens, or whether a window holds text that also stands in the training text (`copied`, `new`)."""
    windows: int
    """Held-out windows with such tokens."""
    predictions: int
    """Such tokens that the loss counts."""
    gained: Estimate
    """Fall of the mean loss of these tokens from the start to the end, nats, over replicates; without an interval where
    there are three or fewer."""
    difference: Estimate | None
    """What the arm gained minus what the baseline did, paired; None for the baseline."""


@dataclass(frozen=True)
class _Part:
    """A part of the held-out text, and how its tokens' loss fell in a replicate."""

    split: str
    name: str
    size_of: Callable[[ArmRun], tuple[int, int]]
    """Windows that hold such tokens, and how many of these tokens the loss counts."""
    gain_of: Callable[[ArmRun], float]


def gained_by(variant: VariantRun, arm: str, pairs: Pairs) -> list[GainOfPart]:
    """What the arm gained on each part of the held-out text; empty where no split has two parts."""
    runs = variant.counting(arm)
    found = []
    for part in _parts(variant):
        gained = over_seeds([part.gain_of(run) for run in runs], "nats")
        if gained.value is None:
            continue
        beside = None if arm == variant.baseline else over_seeds(pairs.differences(part.gain_of), "nats")
        windows, tokens = part.size_of(runs[0])
        found.append(GainOfPart(part.split, part.name, windows, tokens, gained, beside))
    several = {split for split, count in Counter(one.split for one in found).items() if count > 1}
    return [one for one in found if one.split in several]


def _parts(variant: VariantRun) -> list[_Part]:
    corpus = variant.prepared.corpus
    copied = np.array(corpus.held_out_window_overlap) > 0
    by_window = [("file", name, chosen) for name, chosen in _files(corpus.held_out_files)]
    by_window += [("copies", "copied", copied), ("copies", "new", ~copied)]
    classes = next((one.classes for run in variant.runs.values() for one in run.by_frequency.values()), [])
    return [
        *(_Part(split, name, partial(_size, chosen), partial(_gain, chosen)) for split, name, chosen in by_window),
        *(
            _Part("frequency", name, partial(_size_of_class, number), partial(_gain_of_class, number))
            for number, name in enumerate(classes)
        ),
    ]


def _files(of_windows: list[str]) -> list[tuple[str, Chosen]]:
    """The windows of each file, in the order of the corpus; those with fewest together."""
    which = np.array(of_windows, dtype=object)
    usual = Counter(of_windows).most_common(MOST_FILES if len(set(of_windows)) > MOST_FILES + 1 else MOST_FILES + 1)
    alone = {name for name, _ in usual}
    found = [(name, which == name) for name in dict.fromkeys(of_windows) if name in alone]
    others = set(of_windows) - alone
    return [*found, (f"{len(others)} other files", np.isin(which, sorted(others)))] if others else found


def _size(chosen: Chosen, run: ArmRun) -> tuple[int, int]:
    return int(chosen.sum()), int(run.window_predictions[chosen].sum())


def _gain(chosen: Chosen, run: ArmRun) -> float:
    return scalars.held_out_of(run, chosen, after=False) - scalars.held_out_of(run, chosen, after=True)


def _size_of_class(number: int, run: ArmRun) -> tuple[int, int]:
    counts = np.array(run.by_frequency[max(run.by_frequency)].predictions, dtype=np.int64)[:, number]
    return int(np.count_nonzero(counts)), int(counts.sum())


def _gain_of_class(number: int, run: ArmRun) -> float:
    if len(run.by_frequency) < 2:
        return math.nan
    means = []
    for step in (min(run.by_frequency), max(run.by_frequency)):
        measured = run.by_frequency[step]
        tokens = sum(counts[number] for counts in measured.predictions)
        means.append(sum(sums[number] for sums in measured.loss_sums) / tokens if tokens else math.nan)
    return means[0] - means[1]
