"""Which arm differs from the baseline, in what, and by how much? Paired differences with exact tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from frostline.stats import scalars, text_scores
from frostline.stats.arm_run import ArmRun
from frostline.stats.crossed import held_out_crossed
from frostline.stats.estimate import Estimate
from frostline.stats.intervals import OVER_BLOCKS, bootstrap_mean, bootstrap_slope, t_interval
from frostline.stats.pairs import Pair, Pairs, all_pairs
from frostline.stats.runs import VariantRun
from frostline.stats.significance import ALPHA, guarded_p, holm

Measure = Callable[[ArmRun], float]


@dataclass(frozen=True)
class Comparison:
    """One arm against the baseline in one measure, over paired replicates (arm minus baseline)."""

    arm: str
    """Name of the arm."""
    measure: str
    """Key of the measure in `ArmSummary`, or in its `quality`."""
    difference: Estimate
    """Arm minus baseline."""
    p_value: float | None
    """Exact sign-flip test, two-sided, guarded against skew; None with fewer than 2 replicates."""
    p_holm: float | None
    """The p-value after Holm's correction over the arms of this measure."""
    verdict: str
    """`lower`, `higher` or `undecided`."""
    exploratory: bool = False
    """Whether the recipe names another comparison or claim as its primary one."""
    crossed: Estimate | None = None
    """Of the held-out loss: the difference with an interval over seeds and windows, which speaks of other seeds and
    other windows of this text; that of `difference` speaks of other seeds and these windows. Else None."""


@dataclass(frozen=True)
class Compared:
    """A measure in which arms are compared."""

    measure: Measure
    unit: str
    within: Callable[[Pair], Estimate] | None = None
    """The difference with an interval from one replicate alone."""
    of_time: bool = False
    """Whether it compares only between arms that were trained in one run."""


def _loss_last_within(pair: Pair) -> Estimate:
    own, others = pair.losses
    return bootstrap_mean([scalars.last_tenth(own - others)]).estimate("nats", OVER_BLOCKS)


def _loss_slope_within(pair: Pair) -> Estimate:
    own, others = pair.losses
    return bootstrap_slope([own - others]).estimate("nats per step", OVER_BLOCKS)


def _step_seconds_within(pair: Pair) -> Estimate:
    seconds = pair.timed_seconds
    return bootstrap_mean([seconds[:, 0] - seconds[:, 1]]).estimate("seconds", OVER_BLOCKS)


MEASURES: dict[str, Compared] = {
    "loss_last": Compared(scalars.loss_last, "nats", _loss_last_within),
    "loss_slope": Compared(scalars.loss_slope, "nats per step", _loss_slope_within),
    "loss_variance_early": Compared(scalars.loss_variance_early, "nats squared"),
    "loss_variance": Compared(scalars.loss_variance, "nats squared"),
    "held_out_after": Compared(scalars.held_out_after, "nats"),
    "overfitting": Compared(scalars.overfitting, "nats"),
    "forgetting": Compared(scalars.forgetting, "nats"),
    "common_share_after": Compared(text_scores.share_after, "share"),
    "step_seconds": Compared(scalars.step_seconds, "seconds", _step_seconds_within, of_time=True),
    text_scores.DISTANCE: Compared(text_scores.text_distance, "share"),
} | {name: Compared(text_scores.quality_of(name), score.unit) for name, score in text_scores.QUALITY.items()}
"""What is compared, by its key in `ArmSummary` or in its `quality`."""


def compare(variant: VariantRun) -> list[Comparison]:
    """Every arm against the baseline in every measure that the run has; Holm over the arms of each measure."""
    arms = all_pairs(variant)
    found = []
    for name, compared in MEASURES.items():
        comparable = [pairs.side_by_side() for pairs in arms] if compared.of_time else arms
        differences = {pairs.arm: pairs.differences(compared.measure) for pairs in comparable}
        p_values = [guarded_p(values) for values in differences.values()]
        for pairs, p, corrected in zip(comparable, p_values, holm(p_values), strict=True):
            if len(differences[pairs.arm]):
                own = _comparison(name, compared, pairs, p, corrected)
                found.append(replace(own, exploratory=_is_exploratory(variant, own)))
    return found


def _is_exploratory(variant: VariantRun, found: Comparison) -> bool:
    """Whether the recipe names something else as what the experiment is to decide."""
    primary = variant.recipe.primary
    if primary is None or isinstance(primary, str):
        return primary is not None
    return (primary.arm, primary.measure) != (found.arm, found.measure)


def difference(pairs: Pairs, compared: Compared) -> Estimate:
    """Arm minus baseline: t over replicates, or from within the one replicate that there is."""
    if len(pairs.pairs) == 1 and compared.within is not None:
        return compared.within(pairs.pairs[0])
    return t_interval(pairs.differences(compared.measure), compared.unit)


def _comparison(name: str, compared: Compared, pairs: Pairs, p: float | None, corrected: float | None) -> Comparison:
    found = difference(pairs, compared)
    verdict = told(found.value, corrected)
    crossed = held_out_crossed(pairs) if name == "held_out_after" else None
    return Comparison(pairs.arm, name, found, p, corrected, verdict, crossed=crossed)


def told(value: float | None, corrected: float | None) -> str:
    """`lower` or `higher` where the difference is significant, else `undecided`."""
    if corrected is None or corrected >= ALPHA or value is None:
        return "undecided"
    return "lower" if value < 0 else "higher"
