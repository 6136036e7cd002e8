"""What do the weight changes say? C5 (their shape over the steps), C6 (the load that trained matrices carry)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from frostline.readable import percent, plural, significant
from frostline.stats import scalars
from frostline.stats.arm_run import ArmRun
from frostline.stats.claims.context import FINISH, Context, Obstacle
from frostline.stats.claims.definitions import C5, C6, CREEP, EPOCHS, FALL_FACTOR, LOAD, SETTLED_STEPS
from frostline.stats.claims.losses import exponentiated
from frostline.stats.claims.verdicts import (
    SUPPORTED,
    UNDECIDED,
    Series,
    Verdict,
    both,
    judged,
    means_estimate,
    over_replicates,
    result,
    scope_text,
    untested,
)
from frostline.stats.estimate import Estimate
from frostline.stats.intervals import Floats, slope
from frostline.stats.pairs import Pair
from frostline.stats.series import SeriesTest, mean_test, slope_test
from frostline.stats.significance import MINIMUM_REPLICATES
from frostline.stats.summary import ClaimResult
from frostline.stats.weight_noise import SMALLEST_BETA2, coherence, is_adapter
from frostline.stats.wording import interval, with_p

NOT_WATCHED = Obstacle(
    "No weight change of a trained matrix was measured.",
    "A run that measures it (measures.weight_change_every above 0, measures.watch naming matrices that train).",
)
FEWEST = 20
"""Measurements of the weight change that a shape needs."""


def judge_shape(context: Context) -> list[ClaimResult]:
    """C5, on the full arm and on each frozen arm."""
    betas = context.variant.recipe.training.betas
    results, curves = [], {}
    for arm in (context.full, *(pairs.arm for pairs in context.frozen)):
        runs = context.variant.counting(arm)
        if not any(run.watched is not None and run.changes.size for run in runs):
            continue
        obstacle = _shape_obstacle(context, runs)
        if obstacle:
            results.append(untested(C5, context, obstacle, arm))
        elif own := [curve for run in runs if len(curve := coherence(run, betas)[1]) >= FEWEST]:
            curves[arm] = own
        else:
            too_few = Obstacle(f"{arm} has fewer than {FEWEST} measurements of its weight change.", NOT_WATCHED.decides)
            results.append(untested(C5, context, too_few, arm))
    if not curves:
        return results or [untested(C5, context, NOT_WATCHED)]
    late = [Series([np.log(one[len(one) // 2 :]) for one in own], growth_test, growth) for own in curves.values()]
    for (arm, own), creep, verdict in zip(curves.items(), late, shape_verdicts(list(curves.values())), strict=True):
        effect = _relative(means_estimate(creep, verdict, "share"))
        sentence = (
            f"Divided by what AdamW makes of gradients of pure noise, the weight change of {arm} went from "
            f"{significant(float(np.mean([first_part(one) for one in own])))} in its first steps to "
            f"{significant(float(np.mean([second_tenth(one) for one in own])))} over "
            f"their second tenth, and over the second half changed by {percent(effect.value)}"
            f"{interval(effect, as_percent=True)}, {scope_text(verdict, len(own))}{with_p(verdict.p_value)}: 1 means "
            "noise, what is above is agreement of the gradients."
        )
        results.append(result(C5, context, arm, verdict, effect, sentence))
    return results


def _shape_obstacle(context: Context, runs: Sequence[ArmRun]) -> Obstacle | None:
    """Why the shape of these runs' weight changes says nothing, if it does not."""
    recipe, windows = context.variant.recipe, context.variant.prepared.corpus.windows
    training = recipe.training
    steps = min(len(run.losses) for run in runs)
    epochs = steps * training.batch * training.accumulation / max(1, windows)
    arm = runs[0].name
    if is_adapter(runs[0]):
        sentence = f"{arm} trains adapters: what AdamW makes of noise is known of a matrix, not of a product of two."
        return Obstacle(sentence, "An arm that trains matrices themselves.")
    if training.betas[1] < SMALLEST_BETA2:
        sentence = f"With a beta2 of {training.betas[1]:g} single updates are so large that their mean says little."
        return Obstacle(sentence, f"A beta2 of {SMALLEST_BETA2:g} or more (training.betas).")
    if epochs < EPOCHS or steps - training.warmup < SETTLED_STEPS:
        taken = f"{plural(steps, 'step')}, {significant(epochs, 2)} epochs"
        sentence = f"The claim speaks of 'after a few epochs'; {arm} took {taken}."
        return Obstacle(sentence, f"{EPOCHS} epochs or more, and {SETTLED_STEPS} steps or more after the warm-up.")
    return None


def shape_verdicts(curves: Sequence[Sequence[Floats]]) -> list[Verdict]:
    """A verdict for each arm's normalised curves ([measured], one a replicate): a sharp fall, then a creep."""
    late = [Series([np.log(one[len(one) // 2 :]) for one in own], growth_test, growth) for own in curves]
    falls = [[fall(one) for one in own] for own in curves]
    creeps = judged(late, 1, math.log(CREEP))
    if all(len(own) >= MINIMUM_REPLICATES for own in falls):
        # A fall must pass its factor; what does not fall so sharply is no proof of the contrary.
        sharp = over_replicates([np.array(own) - math.log(FALL_FACTOR) for own in falls], 1)
        sharp = [replace(one, verdict=UNDECIDED) if one.verdict != SUPPORTED else one for one in sharp]
    else:
        sharp = [_sharp(own) for own in falls]
    return [both(first, second) for first, second in zip(sharp, creeps, strict=True)]


def _sharp(falls: Sequence[float]) -> Verdict:
    if all(one >= math.log(FALL_FACTOR) for one in falls):
        return Verdict(SUPPORTED, None)
    return Verdict(UNDECIDED, None, f"A fall by a factor of {FALL_FACTOR:g} in every replicate.")


def first_part(curve: Floats) -> float:
    """Mean over the first fiftieth of the measurements, two at least."""
    return float(curve[: max(2, len(curve) // 50)].mean())


def second_tenth(curve: Floats) -> float:
    """Mean over the second tenth of the measurements."""
    n = len(curve)
    return float(curve[max(2, n // 10) : max(4, n // 5)].mean())


def fall(curve: Floats) -> float:
    """Logarithm of the fall from the first steps to the second tenth."""
    return math.log(first_part(curve) / second_tenth(curve))


def growth(late: Floats) -> float:
    """Growth of a logarithm along its least-squares line."""
    return slope(late) * (len(late) - 1)


def growth_test(late: Sequence[Floats]) -> SeriesTest:
    """Mean growth over several series."""
    found = slope_test(late)
    steps = float(np.mean([len(one) - 1 for one in late]))
    return replace(found, value=found.value * steps, error=found.error * steps)


def _relative(logs: Estimate) -> Estimate:
    """Growth as a share from the growth of a logarithm."""
    ends = [None if end is None else math.expm1(end) for end in (logs.value, logs.low, logs.high)]
    return replace(logs, value=ends[0], low=ends[1], high=ends[2])


def judge_load(context: Context) -> list[ClaimResult]:
    """C6."""
    if context.frozen_obstacle:
        return [untested(C6, context, context.frozen_obstacle)]
    betas = context.variant.recipe.training.betas
    ratios = {pairs.arm: [_log_ratios(pair, betas) for pair in pairs.pairs] for pairs in context.frozen}
    ratios = {arm: [one for one in own if len(one)] for arm, own in ratios.items()}
    ratios = {arm: own for arm, own in ratios.items() if own}
    if not ratios:
        return [untested(C6, context, NOT_WATCHED)]
    arms = [Series(own, mean_test, lambda one: float(one.mean())) for own in ratios.values()]
    results = []
    for arm, series, verdict in zip(ratios, arms, judged(arms, 1, math.log(LOAD)), strict=True):
        effect = exponentiated(means_estimate(series, verdict, "ratio"))
        if verdict.detectable is not None:
            verdict = replace(verdict, detectable=math.exp(verdict.detectable))
        if effect.value is None:
            results.append(untested(C6, context, Obstacle(f"{arm} took too few steps.", FINISH), arm))
            continue
        sentence = (
            f"The matrices that {arm} trains changed {significant(effect.value)} times{interval(effect)} as much per "
            f"step as the same matrices in {context.full}, {scope_text(verdict, len(series.steps))}"
            f"{with_p(verdict.p_value)}."
        )
        results.append(result(C6, context, arm, verdict, effect, sentence))
    return results


def _log_ratios(pair: Pair, betas: tuple[float, float]) -> Floats:
    """Logarithm of the arm's weight change over the baseline's, at each step that both measured.

    Where the plan changes, a matrix that began later is compared with what AdamW makes of noise at its own age.
    """
    watched, others = pair.arm.watched, pair.baseline.watched
    if watched is None or others is None:
        return np.empty(0)
    trained = {name for name, trains in zip(watched.names, watched.trained, strict=True) if trains}
    names = frozenset(trained & set(others.names))
    changes = bool(pair.arm.plan_changes or pair.baseline.plan_changes)
    own_steps, own = coherence(pair.arm, betas, names) if changes else scalars.trained_change(pair.arm, names)
    full_steps, full = (
        coherence(pair.baseline, betas, names) if changes else scalars.trained_change(pair.baseline, names)
    )
    _, first, second = np.intersect1d(own_steps, full_steps, return_indices=True)
    ratios: Floats = np.log(own[first] / full[second])
    return ratios
