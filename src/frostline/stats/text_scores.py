"""What is the generated text like? Scores as ratios of totals over continuations, so that they can be resampled.

Each score of a text is a total over another: common tokens over tokens, copied 8-grams over 8-grams, or a sum of
per-continuation values over their count. A continuation whose score is unknown (too short) counts in neither total.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frostline.run_folder import Continuation
from frostline.stats.intervals import OVER_CONTINUATIONS, Bootstrap, bootstrap, nothing, ratio
from frostline.stats.runs import ArmRun
from frostline.stats.summary import Estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """Total of `above` over total of `below`."""

    above: Callable[[Continuation], float]
    below: Callable[[Continuation], float]
    unit: str
    exponential: bool = False
    """The score is exp of the ratio."""

    def of_totals(self, totals: Floats) -> Floats:
        """The score of totals [draws, 2]."""
        found = ratio(totals)
        return np.exp(found) if self.exponential else found


def _one(_: Continuation) -> float:
    return 1.0


COMMON_SHARE = Score(lambda text: text.common_tokens, lambda text: text.tokens, "share")
QUALITY: dict[str, Score] = {
    "distinct_1": Score(lambda text: text.distinct_1, _one, "share"),
    "distinct_2": Score(lambda text: text.distinct_2, _one, "share"),
    "distinct_3": Score(lambda text: text.distinct_3, _one, "share"),
    "repetition": Score(lambda text: text.repetition, _one, "share"),
    "self_bleu": Score(lambda text: text.self_bleu, _one, "share"),
    "length": Score(lambda text: text.tokens, _one, "tokens"),
    "perplexity": Score(
        lambda text: text.untouched_loss_nats * text.tokens if text.tokens else math.nan,
        lambda text: text.tokens,
        "perplexity",
        exponential=True,
    ),
    "copied_share": Score(lambda text: text.copied_ngrams, lambda text: text.ngrams, "share"),
}
INDEX_PARTS = (("distinct_2", 1), ("repetition", -1), ("self_bleu", -1), ("copied_share", -1))
"""The text index is the mean of these shares, each turned so that more is better."""


def rows(texts: Sequence[Continuation], score: Score) -> Floats:
    """Above and below of each continuation, [continuations, 2]; (0, 0) where the score is unknown."""
    table = np.array([(score.above(text), score.below(text)) for text in texts], dtype=np.float64).reshape(-1, 2)
    table[~np.isfinite(table).all(axis=1)] = 0.0
    return table


def value(texts: Sequence[Continuation], score: Score) -> float:
    """The score of `texts`; NaN where unknown."""
    return float(score.of_totals(rows(texts, score).sum(axis=0)[None, :])[0])


def estimate(texts: Sequence[Sequence[Continuation]], score: Score) -> Estimate:
    """The score over all continuations of several replicates, resampled within each replicate."""
    if not any(texts):
        return nothing(score.unit)
    found = bootstrap([rows(own, score) for own in texts], score.of_totals, length=1)
    lowest, highest = (0.0, 1.0) if score.unit == "share" else (0.0, math.inf)
    return found.estimate(score.unit, OVER_CONTINUATIONS, (lowest, highest))


def difference(
    texts: Sequence[tuple[Sequence[Continuation], Sequence[Continuation]]], score: Score = COMMON_SHARE
) -> Bootstrap:
    """Score of the first text minus that of the second, over pairs of texts.

    Continuations of one prompt are resampled together, within each pair, since they share prompt and sampling noise.
    """

    def statistic(totals: Floats) -> Floats:
        return score.of_totals(totals[:, :2]) - score.of_totals(totals[:, 2:])

    strata = []
    for first, second in texts:
        firsts = {text.prompt_index: text for text in first}
        seconds = {text.prompt_index: text for text in second}
        prompts = sorted(firsts.keys() & seconds.keys())
        strata.append(
            np.hstack([rows([own[prompt] for prompt in prompts], score) for own in (firsts, seconds)]).reshape(-1, 4)
        )
    return bootstrap(strata, statistic, length=1)


def share_before(run: ArmRun) -> float:
    """p of the untouched model's continuations to this replicate's prompts."""
    return value(run.text_before, COMMON_SHARE)


def share_after(run: ArmRun) -> float:
    """p after training."""
    return value(run.text, COMMON_SHARE)


def share_change(run: ArmRun) -> float:
    """delta p."""
    return share_after(run) - share_before(run)


def quality_of(name: str) -> Callable[[ArmRun], float]:
    """The measure of an arm's text after training that QUALITY calls `name`."""
    return lambda run: value(run.text, QUALITY[name])


def text_index(run: ArmRun) -> float:
    """Mean of distinct-2, 1 - repetition, 1 - self-BLEU and 1 - copied share: 0 to 1, more is better."""
    parts = []
    for name, direction in INDEX_PARTS:
        found = value(run.text, QUALITY[name])
        parts.append(found if direction > 0 else 1 - found)
    return float(np.mean(parts))
