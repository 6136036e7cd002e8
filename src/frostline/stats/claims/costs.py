"""What do time and data say? C7 (saving, and its growth with the model), C12 (scarce data)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from frostline.readable import loss, percent, points
from frostline.stats import scalars, timing
from frostline.stats.claims.context import FINISH, Context, Obstacle
from frostline.stats.claims.definitions import C7, C7_GROWTH, C12, SAVING_BOUNDS, Definition
from frostline.stats.claims.verdicts import (
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    Verdict,
    across_variants,
    in_these_runs,
    over_replicates,
    replicates_text,
    result,
    untested,
    within_runs,
)
from frostline.stats.intervals import LEVEL, OVER_BLOCKS, Bootstrap, nothing, t_interval
from frostline.stats.pairs import Pairs
from frostline.stats.summary import ClaimResult
from frostline.stats.wording import interval, p_text

LOCK_STEP = "lock-step"


def judge_saving(context: Context) -> list[ClaimResult]:
    """C7, first half."""
    if context.frozen_obstacle:
        return [untested(C7, context, context.frozen_obstacle)]
    return [_saving(context, pairs) for pairs in context.frozen]


def _saving(context: Context, pairs: Pairs) -> ClaimResult:
    found = timing.saving(pairs)
    effect = found.estimate("share", f"{OVER_BLOCKS}, within runs")
    if pairs.pairs and not pairs.side_by_side().pairs:
        apart = f"{pairs.arm} and {pairs.baseline} were trained in different runs, whose times do not compare."
        anew = "The same run with --fresh, which trains all arms anew."
        return untested(C7, context, Obstacle(apart, anew), pairs.arm)
    if effect.value is None:
        return untested(C7, context, Obstacle(f"No timed step of {pairs.arm} and {pairs.baseline}.", FINISH), pairs.arm)
    verdict = _saving_verdict(found, context.variant.prepared.schedule, len(context.frozen))
    side = {SUPPORTED: ": about the 25 % claimed", REFUTED: ": more than the 25 % claimed"}.get(verdict.verdict, "")
    if verdict.verdict == REFUTED and effect.value < SAVING_BOUNDS[0]:
        side = ": less than the 25 % claimed"
    sentence = (
        f"{pairs.arm} took {percent(effect.value)}{interval(effect, as_percent=True)} less time a step than "
        f"{pairs.baseline} on this machine, {in_these_runs(len(pairs.pairs))}{side}."
    )
    if effect.value < 0:
        sentence = (
            f"{pairs.arm} took {percent(-effect.value)}{interval(effect, as_percent=True, negate=True)} more time a "
            f"step than {pairs.baseline} on this machine, {in_these_runs(len(pairs.pairs))}."
        )
    return result(C7, context, pairs.arm, verdict, effect, sentence)


def _saving_verdict(found: Bootstrap, schedule: str, arms: int) -> Verdict:
    p = found.p_value()
    if schedule != LOCK_STEP:
        decides = (
            "A run in lock step (training.schedule): one arm after another, drift of the machine can hit one alone."
        )
        return Verdict(UNDECIDED, p, decides)
    if not found.enough:
        return Verdict(UNDECIDED, p, "More timed steps: there are too few for an interval.")
    low, high = found.interval(1 - (1 - LEVEL) / arms)
    if SAVING_BOUNDS[0] <= low and high <= SAVING_BOUNDS[1]:
        return Verdict(SUPPORTED, p)
    if high < SAVING_BOUNDS[0] or low > SAVING_BOUNDS[1]:
        return Verdict(REFUTED, p)
    return Verdict(UNDECIDED, p, "More timed steps: the interval reaches beyond what counts as about 25 %.")


def judge_growth(contexts: Sequence[Context]) -> list[ClaimResult]:
    """C7, second half: over variants of different model size."""
    sizes = [context.variant.prepared.parameters for context in contexts]
    obstacle = Obstacle("All of this run used one size of model.", "An experiment with 'vary: {model.source: [...]}'.")
    arms = _common_arms(contexts)
    if len(set(sizes)) < 2 or not arms:
        return [_unanswered(C7_GROWTH, obstacle)]
    place = np.log2(np.array(sizes, dtype=np.float64))
    centred = (place - place.mean()) / ((place - place.mean()) ** 2).sum()
    slopes = {}
    for arm in arms:
        savings = [timing.saving(_pairs(context, arm)) for context in contexts]
        slopes[arm] = Bootstrap(
            float(centred @ np.array([found.value for found in savings])),
            np.sum([weight * found.draws for weight, found in zip(centred, savings, strict=True)], axis=0),
            sum(found.blocks for found in savings),
            sum(found.strata for found in savings),
        )
    verdicts = within_runs([one.p_value() for one in slopes.values()], [[one.value] for one in slopes.values()], 1)
    results = []
    for (arm, found), verdict in zip(slopes.items(), verdicts, strict=True):
        if any(context.variant.prepared.schedule != LOCK_STEP for context in contexts):
            verdict = Verdict(UNDECIDED, verdict.p_value, "Runs in lock step (training.schedule).")
        effect = found.estimate("share per doubling", f"{OVER_BLOCKS}, within runs")
        sentence = (
            f"The saving of {arm} changed by {points(effect.value)}{interval(effect, as_percent=True)} for each "
            f"doubling of the model's parameters, over {len(contexts)} models."
        )
        results.append(across_variants(C7_GROWTH, arm, verdict, effect, sentence))
    return results


def judge_scarcity(contexts: Sequence[Context]) -> list[ClaimResult]:
    """C12: over variants with different amounts of data against parameters."""
    ratios = [context.variant.prepared.corpus.tokens / context.variant.prepared.parameters for context in contexts]
    arms = _common_arms(contexts)
    if len(set(ratios)) < 2 or not arms:
        obstacle = Obstacle(
            "All of this run used one amount of data against parameters.",
            "An experiment with 'vary: {corpus.tokens: [...]}', such as the recipe 'scarcity'.",
        )
        return [_unanswered(C12, obstacle)]
    gaps = {arm: _gaps(contexts, arm) for arm in arms}
    place = np.log2(np.array(ratios))
    weights = (place - place.mean()) / ((place - place.mean()) ** 2).sum()
    scarcest = int(np.argmin(place))
    slopes = {arm: [float(weights @ row) for row in table] for arm, table in gaps.items()}
    at_scarcest = {arm: [float(row[scarcest]) for row in table] for arm, table in gaps.items()}
    first = over_replicates(list(at_scarcest.values()), 1)
    second = over_replicates(list(slopes.values()), -1)
    results = []
    for arm, overfits_less, grows in zip(arms, first, second, strict=True):
        effect = t_interval(slopes[arm], "nats per doubling")
        if effect.value is None:
            results.append(_unanswered(C12, Obstacle(f"{arm} has no replicate that ran in every variant.", FINISH)))
            continue
        gap = t_interval(at_scarcest[arm], "nats")
        more = "less" if (gap.value or 0.0) > 0 else "more"
        label = contexts[scarcest].variant.label
        sentence = (
            f"At {label} {arm} overfitted {loss(abs(gap.value or 0.0))} nats {more} than {contexts[0].full}"
            f"{interval(gap, decimals=3, negate=(gap.value or 0.0) < 0)}; this advantage changed by "
            f"{loss(effect.value)}{interval(effect, decimals=3)} nats with each doubling of the data per parameter, "
            f"{replicates_text(effect.n)} ({p_text(grows.p_value) or 'no p'})."
        )
        results.append(across_variants(C12, arm, _both(overfits_less, grows), effect, sentence))
    return results


def _gaps(contexts: Sequence[Context], arm: str) -> list[list[float]]:
    """For each replicate that ran in every variant, overfitting of the full arm minus that of `arm`, by variant."""
    tables = [
        {pair.seed: -pair.difference(scalars.overfitting) for pair in _pairs(context, arm).pairs}
        for context in contexts
    ]
    rows = [[table.get(seed, math.nan) for table in tables] for seed in contexts[0].variant.seeds]
    return [row for row in rows if all(math.isfinite(gap) for gap in row)]


def _both(first: Verdict, second: Verdict) -> Verdict:
    """The verdict on two halves of which both must hold."""
    known = [one.p_value for one in (first, second) if one.p_value is not None]
    p = max(known) if len(known) == 2 else None
    if REFUTED in (first.verdict, second.verdict):
        return Verdict(REFUTED, p)
    if first.verdict == second.verdict == SUPPORTED:
        return Verdict(SUPPORTED, p)
    return Verdict(UNDECIDED, p, first.decides or second.decides)


def _common_arms(contexts: Sequence[Context]) -> list[str]:
    """Frozen arms of every variant, where every variant's baseline trains everything."""
    if not contexts or not all(context.baseline_is_full for context in contexts):
        return []
    return [pairs.arm for pairs in contexts[0].frozen if all(_has(context, pairs.arm) for context in contexts)]


def _has(context: Context, arm: str) -> bool:
    return any(pairs.arm == arm and pairs.pairs for pairs in context.frozen)


def _pairs(context: Context, arm: str) -> Pairs:
    return next(pairs for pairs in context.frozen if pairs.arm == arm)


def _unanswered(definition: Definition, obstacle: Obstacle) -> ClaimResult:
    verdict = Verdict(UNDECIDED, None, obstacle.decides)
    return across_variants(definition, "", verdict, nothing(""), obstacle.sentence)
