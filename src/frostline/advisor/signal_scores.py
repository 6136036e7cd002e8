"""Which signal knew where training acts? Rank correlation of each signal with what training then showed.

No p-value: neighbouring layers are alike, so that thirty of them are far fewer than thirty observations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from scipy import stats

from frostline.signals import Signal

FEWEST_PLACES = 4
"""Below this a rank correlation says nothing."""
Ranked = TypeVar("Ranked", int, str)


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
