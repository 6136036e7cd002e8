"""What is the generated text like? Scores as ratios of totals over continuations, so that they can be resampled.

Each score of a text is a total over another: common tokens over tokens, copied 8-grams over 8-grams, or a sum of
per-continuation values over their count. A continuation whose score is unknown (too short) counts in neither total.
Prompts are the units: several texts to one prompt, of several draws, are added up before anything is resampled.

None of these numbers is good or bad by itself: random tokens are the most varied text there is. What they are worth is
seen beside the held-out text's own, after the same prompts and over as many tokens: `distance` is how far a model's
text is from those, 0 being the text itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frostline.run_folder import Continuation, TrueContinuation
from frostline.stats.arm_run import ArmRun
from frostline.stats.estimate import Estimate
from frostline.stats.intervals import OVER_CONTINUATIONS, Bootstrap, bootstrap, nothing, ratio

Floats = NDArray[np.float64]
Written = Continuation | TrueContinuation
Text = Sequence[Written]


@dataclass(frozen=True)
class Score:
    """Total of `above` over total of `below`."""

    above: Callable[[Written], float]
    below: Callable[[Written], float]
    unit: str


def _one(_: Written) -> float:
    return 1.0


COMMON_SHARE = Score(lambda text: text.common_tokens, lambda text: text.tokens, "share")
QUALITY: dict[str, Score] = {
    "distinct_1": Score(lambda text: text.distinct_1, _one, "share"),
    "distinct_2": Score(lambda text: text.distinct_2, _one, "share"),
    "distinct_3": Score(lambda text: text.distinct_3, _one, "share"),
    "repetition": Score(lambda text: text.repetition, _one, "share"),
    "self_bleu": Score(lambda text: text.self_bleu, _one, "share"),
    "length": Score(lambda text: text.tokens, _one, "tokens"),
    "copied_share": Score(lambda text: text.copied_ngrams, lambda text: text.ngrams, "share"),
    "from_untouched": Score(
        lambda text: text.untouched_loss_nats * text.tokens if text.tokens else math.nan,
        lambda text: text.tokens,
        "nats",
    ),
    "judge_loss": Score(lambda text: text.judge_loss_nats, lambda text: len(text.text.encode()), "nats per byte"),
}
"""`from_untouched` is how improbable the untouched model finds the text: how far training has led from it, which is no
fault. `judge_loss` is that of a model which has nothing to do with either."""
DISTANCE = "distance"
DISTANCE_PARTS: dict[str, Score] = {
    name: QUALITY[name] for name in ("distinct_1", "distinct_2", "repetition", "self_bleu", "copied_share")
} | {"common_share": COMMON_SHARE}
"""What the distance to the held-out text is the mean of, each a share from 0 to 1."""


def rows(texts: Text, score: Score) -> Floats:
    """Above and below of each prompt, [prompts, 2], in the order of the prompts; (0, 0) where the score is unknown."""
    return np.array(list(_by_prompt(texts, score).values()), dtype=np.float64).reshape(-1, 2)


def _by_prompt(texts: Text, score: Score) -> dict[int, Floats]:
    totals: dict[int, Floats] = {}
    for text in sorted(texts, key=lambda one: one.prompt_index):
        own = np.array((score.above(text), score.below(text)), dtype=np.float64)
        totals.setdefault(text.prompt_index, np.zeros(2))
        if np.isfinite(own).all():
            totals[text.prompt_index] += own
    return totals


def value(texts: Text, score: Score) -> float:
    """The score of `texts`; NaN where unknown."""
    return float(ratio(rows(texts, score).sum(axis=0)[None, :])[0])


def estimate(texts: Sequence[Text], score: Score) -> Estimate:
    """The score over all continuations of several replicates, resampled within each replicate."""
    if not any(texts):
        return nothing(score.unit)
    found = bootstrap([rows(own, score) for own in texts], ratio, length=1)
    lowest, highest = (0.0, 1.0) if score.unit == "share" else (0.0, math.inf)
    return found.estimate(score.unit, OVER_CONTINUATIONS, (lowest, highest))


def difference(
    texts: Sequence[tuple[Text, Text]], score: Score = COMMON_SHARE, *, target: float | None = None
) -> Bootstrap:
    """Score of the first text minus that of the second, over pairs of texts; with `target`, of their distances to it.

    Continuations of one prompt are resampled together, within each pair, since they share prompt and sampling noise.
    """

    def of_totals(totals: Floats) -> Floats:
        found = ratio(totals)
        return found if target is None else np.abs(found - target)

    def statistic(totals: Floats) -> Floats:
        return of_totals(totals[:, :2]) - of_totals(totals[:, 2:])

    strata = []
    for first, second in texts:
        firsts, seconds = _by_prompt(first, score), _by_prompt(second, score)
        prompts = sorted(firsts.keys() & seconds.keys())
        strata.append(
            np.array([[*firsts[prompt], *seconds[prompt]] for prompt in prompts], dtype=np.float64).reshape(-1, 4)
        )
    return bootstrap(strata, statistic, length=1)


def distance(texts: Text, truth: Sequence[TrueContinuation]) -> float:
    """Mean over `DISTANCE_PARTS` of how far `texts` is from `truth`, 0 to 1; NaN where nothing is known of the truth.

    A part that `texts` is too short to have is as far as can be. What has no meaning for the truth itself, such as
    the sameness of a single text, is left out.
    """
    wanted = {name: value(truth, score) for name, score in DISTANCE_PARTS.items()}
    parts = [
        1.0 if math.isnan(own) else abs(own - wanted[name])
        for name, own in ((name, value(texts, DISTANCE_PARTS[name])) for name in wanted)
        if math.isfinite(wanted[name])
    ]
    return float(np.mean(parts)) if parts and len(texts) else math.nan


def text_distance(run: ArmRun) -> float:
    """Distance of this replicate's text after training to the held-out text's own."""
    return distance(run.text, run.true_text)


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
