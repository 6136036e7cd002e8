"""What does freezing save in time? C7: that it saves, how much beside the study, and whether larger models save more.

Arm and baseline take the same step one after the other, so that a pair of steps meets the machine in the same state.
Now and then the machine pauses, and one step takes ten times as long: the sum of all steps then tells of the pauses.
So the logarithm of each pair's ratio speaks, and pairs far from the median are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from frostline.readable import percent, points
from frostline.run_folder import ArmStarted
from frostline.stats import timing
from frostline.stats.claims.context import FINISH, Context, Obstacle, common_arms, pairs_in
from frostline.stats.claims.definitions import C7, C7_AMOUNT, C7_GROWTH, LEAST_SAVING, STUDYS_SAVING
from frostline.stats.claims.verdicts import (
    UNDECIDED,
    Verdict,
    across_variants,
    in_these_runs,
    result,
    unanswered,
    untested,
    within_runs,
)
from frostline.stats.estimate import Estimate
from frostline.stats.intervals import Floats
from frostline.stats.pairs import Pairs
from frostline.stats.series import SeriesTest, mean_test, without_pauses
from frostline.stats.summary import ClaimResult
from frostline.stats.wording import interval, with_p

LOCK_STEP = "lock-step"
IN_LOCK_STEP = "A run in lock step (training.schedule): one arm after another, drift of the machine can hit one alone."


def judge_saving(context: Context) -> list[ClaimResult]:
    """C7, first two lines: whether, and how much."""
    if context.frozen_obstacle:
        return [untested(C7, context, context.frozen_obstacle)]
    series = [[one for one in log_ratios(pairs) if len(one)] for pairs in context.frozen]
    found = [mean_test(own) for own in series]
    obstacles = [_obstacle(pairs, one) for pairs, one in zip(context.frozen, found, strict=True)]
    timed = [place for place, obstacle in enumerate(obstacles) if obstacle is None]
    whether = saving_verdicts([series[place] for place in timed], 0.0)
    amount = saving_verdicts([series[place] for place in timed], LEAST_SAVING)
    lines: list[ClaimResult] = []
    amounts: list[ClaimResult] = []
    for place, pairs in enumerate(context.frozen):
        obstacle = obstacles[place]
        if obstacle is not None:
            lines.append(untested(C7, context, obstacle, pairs.arm))
            continue
        effect = as_saving(found[place].estimate("share"))
        first, second = (_unless_apart(context, own[timed.index(place)]) for own in (whether, amount))
        lines.append(result(C7, context, pairs.arm, first, effect, _saving_sentence(context, pairs, effect, first)))
        amounts.append(result(C7_AMOUNT, context, pairs.arm, second, effect, _amount_sentence(pairs, effect, second)))
    return lines + amounts


def log_ratios(pairs: Pairs) -> list[Floats]:
    """For each replicate, the logarithm of baseline over arm of each timed pair of steps, pauses left out."""
    timed = [pair.timed_seconds for pair in pairs.side_by_side().pairs]
    return [without_pauses(np.log(one[:, 1] / one[:, 0])) for one in timed if len(one)]


def saving_verdicts(series: Sequence[Sequence[Floats]], least: float) -> list[Verdict]:
    """A verdict for each arm's logarithms of ratios: a saving beyond `least`."""
    null = -math.log1p(-least)
    p_values = [mean_test(own).p_value(null) for own in series]
    return within_runs(p_values, [[float(one.mean()) - null for one in own] for own in series], 1)


def as_saving(logs: Estimate) -> Estimate:
    """r from the logarithm of baseline over arm."""
    ends = [None if end is None else -math.expm1(-end) for end in (logs.value, logs.low, logs.high)]
    return replace(logs, value=ends[0], low=ends[1], high=ends[2], unit="share")


def _obstacle(pairs: Pairs, found: SeriesTest) -> Obstacle | None:
    if any(pair.in_one_run for pair in pairs.pairs) and not pairs.side_by_side().pairs:
        apart = f"{pairs.arm} and {pairs.baseline} were computed by several numbers of processes: times do not compare."
        return Obstacle(apart, "The same run with --fresh, on one number of processes from its beginning to its end.")
    if pairs.pairs and not pairs.side_by_side().pairs:
        if all(pair.arm.trained_by == pair.baseline.trained_by for pair in pairs.pairs):
            apart = f"{pairs.arm} and {pairs.baseline} were not trained in one unit: their times do not compare."
            return Obstacle(apart, "The same run with --fresh: each unit trains a baseline of its own.")
        apart = f"{pairs.arm} and {pairs.baseline} were trained in different runs, whose times do not compare."
        return Obstacle(apart, "The same run with --fresh, which trains all arms anew.")
    if not math.isfinite(found.value):
        return Obstacle(f"Too few timed steps of {pairs.arm} and {pairs.baseline}.", FINISH)
    return None


def _unless_apart(context: Context, verdict: Verdict) -> Verdict:
    if context.variant.prepared.schedule == LOCK_STEP:
        return verdict
    return Verdict(UNDECIDED, verdict.p_value, IN_LOCK_STEP, verdict.scope)


def _saving_sentence(context: Context, pairs: Pairs, effect: Estimate, verdict: Verdict) -> str:
    assert effect.value is not None
    less = effect.value >= 0
    in_all = timing.saving(pairs).value
    beside = f" ({percent(in_all)} by the sum of all steps)" if abs(in_all - effect.value) > 0.005 else ""
    started = pairs.pairs[0].arm.started
    allowed = f"; by products of matrices alone it could save {_ceilings(started)}" if less else ""
    if effect.low is not None and effect.low > started.ceiling_cached:
        allowed += ", so that other work was saved, such as the optimizer's, or something else made them differ, too"
    return (
        f"{pairs.arm} took {percent(abs(effect.value))}{interval(effect, as_percent=True, negate=not less)} "
        f"{'less' if less else 'more'} time a step than {context.full} on this machine{beside}, "
        f"{in_these_runs(len(pairs.pairs))}{with_p(verdict.p_value)}{allowed}."
    )


def _ceilings(started: ArmStarted) -> str:
    """The saving by arithmetic, without stored rows and with them, where that is not the same."""
    plain, cached = percent(started.ceiling), percent(started.ceiling_cached)
    return plain if plain == cached else f"{plain}, or {cached} from stored rows"


def _amount_sentence(pairs: Pairs, effect: Estimate, verdict: Verdict) -> str:
    assert effect.value is not None
    apart = effect.value - STUDYS_SAVING
    beside = f"{points(abs(apart))} {'more' if apart > 0 else 'less'} than"
    if effect.low is not None and effect.high is not None and effect.low <= STUDYS_SAVING <= effect.high:
        beside = "not told from"
    return (
        f"{pairs.arm} saved {percent(effect.value)}{interval(effect, as_percent=True)}, {beside} the "
        f"{percent(STUDYS_SAVING)} that the study saved with its plan on its machine, "
        f"{in_these_runs(len(pairs.pairs))}{with_p(verdict.p_value)}."
    )


def judge_growth(contexts: Sequence[Context]) -> list[ClaimResult]:
    """C7, third line: over variants of different model size."""
    sizes = [context.variant.prepared.parameters for context in contexts]
    obstacle = Obstacle("All of this run used one size of model.", "An experiment with 'vary: {model.source: [...]}'.")
    arms = common_arms(contexts)
    if len(set(sizes)) < 2 or not arms:
        return [unanswered(C7_GROWTH, obstacle)]
    place = np.log2(np.array(sizes, dtype=np.float64))
    weights = (place - place.mean()) / ((place - place.mean()) ** 2).sum()
    slopes = {
        arm: slope_of_savings([mean_test(log_ratios(pairs_in(context, arm))) for context in contexts], weights)
        for arm in arms
    }
    verdicts = growth_verdicts(list(slopes.values()))
    results = []
    for (arm, found), verdict in zip(slopes.items(), verdicts, strict=True):
        if any(context.variant.prepared.schedule != LOCK_STEP for context in contexts):
            verdict = Verdict(UNDECIDED, verdict.p_value, IN_LOCK_STEP, verdict.scope)
        effect = found.estimate("share per doubling")
        sentence = (
            f"In these models the saving of {arm} changed by {points(effect.value)}"
            f"{interval(effect, as_percent=True)} for each doubling of the parameters ({len(contexts)} models, which "
            f"differ in more than size){with_p(verdict.p_value)}."
        )
        results.append(across_variants(C7_GROWTH, arm, verdict, effect, sentence))
    return results


def growth_verdicts(slopes: Sequence[SeriesTest]) -> list[Verdict]:
    """A verdict for each arm's slope of the savings over the sizes of the models."""
    return within_runs([one.p_value() for one in slopes], [[one.value] for one in slopes], 1)


def slope_of_savings(found: Sequence[SeriesTest], weights: Floats) -> SeriesTest:
    """The sum of `weights` times savings, from the logarithms of the ratios at each size."""
    savings = np.array([-math.expm1(-one.value) for one in found])
    errors = np.array([one.error * math.exp(-one.value) for one in found])
    if any(not one.enough for one in found):
        return SeriesTest(float(weights @ savings), math.nan, 0.0, len(found))
    return SeriesTest(
        float(weights @ savings),
        float(np.sqrt(np.sum((weights * errors) ** 2))),
        min(one.units - one.series for one in found) + 1,
        1,
    )
