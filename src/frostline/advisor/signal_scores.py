"""Which signal knew where training acts? Rank correlation of each signal with what training then showed.

No p-value: neighbouring layers are alike, so that thirty of them are far fewer than thirty observations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from scipy import stats

from frostline.signals import Place, Sample, Signal, SignalInputs, matrices_of, signals_of

FEWEST_PLACES = 4
"""Below this a rank correlation says nothing."""
Ranked = TypeVar("Ranked", int, str, Place)


@dataclass(frozen=True)
class SignalScore:
    """Spearman's rho of a signal with the truth, from -1 to 1; None where places are too few or all equal."""

    signal: str
    layers: float | None
    roles: float | None


def score_signals(
    signals: Iterable[Signal], layers: Mapping[int, float], roles: Mapping[str, float]
) -> list[SignalScore]:
    """Each signal against the truth of layers and of roles, by the places that both have."""
    return [
        SignalScore(
            signal.kind.name,
            rank_correlation(signal.by_layer(), layers),
            rank_correlation(signal.by_role(), roles),
        )
        for signal in signals
    ]


def rank_correlation(first: Mapping[Ranked, float], second: Mapping[Ranked, float]) -> float | None:
    """Spearman's rho over the places that both have (mean ranks for ties); None with fewer than four, or all equal."""
    places = [place for place in first if place in second]
    own, other = [first[place] for place in places], [second[place] for place in places]
    if len(places) < FEWEST_PLACES or len(set(own)) < 2 or len(set(other)) < 2:
        return None
    rho = float(stats.spearmanr(own, other).statistic)
    return rho if math.isfinite(rho) else None


def steadiness_of(
    signals: Iterable[Signal], inputs: SignalInputs, cache: Path, say: Callable[[str], None]
) -> dict[str, float | None]:
    """How steady the ranking of each signal is: Spearman's rho between its values on two halves of the windows.

    Over the matrices that it chooses from, or over layers. None for a signal that reads no windows.
    """
    signals = list(signals)
    names = [signal.kind.name for signal in signals if signal.kind.reads_windows]
    if not names:
        return {signal.kind.name: None for signal in signals}
    windows = inputs.sample.windows
    halves = (windows[0::2], windows[1::2])
    say("Looking again, at each half of the windows")
    first, second = (signals_of(replace(inputs, sample=Sample(half)), cache, names, say=_nothing) for half in halves)
    matrices = matrices_of(inputs.map)
    found: dict[str, float | None] = {signal.kind.name: None for signal in signals}
    for name in names:
        if first[name].kind.places == "matrices":
            own = {place: value for place, value in first[name].values.items() if place in matrices}
            found[name] = rank_correlation(own, second[name].values)
        else:
            found[name] = rank_correlation(first[name].by_layer(), second[name].by_layer())
    return found


def _nothing(sentence: str) -> None:
    """What the halves say of themselves was said of the whole."""
