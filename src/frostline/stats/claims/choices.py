"""Does choosing by looking inside the model beat chance? C11: arms chosen by a signal, random ones of their size.

What each selector that computes became stands in the journal (`VariantPrepared.chosen`), so that an arm is known by how
it was chosen, whatever its name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from frostline.readable import loss
from frostline.recipe import parse_selector
from frostline.stats import scalars
from frostline.stats.claims.context import FINISH, Context, Obstacle
from frostline.stats.claims.definitions import C11, SAME_SIZE
from frostline.stats.claims.verdicts import over_replicates, replicates_text, result, untested
from frostline.stats.intervals import t_interval
from frostline.stats.runs import VariantRun
from frostline.stats.summary import ClaimResult
from frostline.stats.wording import interval, p_text

HOW = (
    "An arm chosen by a signal ('train: [top:25% by fisher]') and random ones of its size ('top:25% by random-1'), as "
    "in the recipe that 'frostline advise' writes."
)


def judge_choice(context: Context) -> list[ClaimResult]:
    """C11."""
    variant = context.variant
    chosen, random = _arms_by_choice(variant)
    controls = {arm: own for arm in chosen if (own := [other for other in random if _same_size(variant, arm, other)])}
    if not controls:
        what = "chosen by a signal of the model" if not chosen else f"chosen at random, of the size of {chosen[0]}"
        return [untested(C11, context, Obstacle(f"No arm was {what}.", HOW))]
    differences = {arm: _differences(variant, arm, own) for arm, own in controls.items()}
    verdicts = over_replicates(list(differences.values()), -1)
    results = []
    for (arm, values), verdict in zip(differences.items(), verdicts, strict=True):
        effect = t_interval(values, "nats")
        others = controls[arm]
        if effect.value is None:
            obstacle = Obstacle(f"{arm} and {' and '.join(others)} have no finished replicate in common.", FINISH)
            results.append(untested(C11, context, obstacle, arm))
            continue
        word = "above" if effect.value > 0 else "below"
        p = f" ({p_text(verdict.p_value)})" if verdict.p_value is not None else ""
        what = others[0] if len(others) == 1 else f"the mean of {', '.join(others)}"
        sentence = (
            f"The held-out loss of {arm} ended {loss(abs(effect.value))} nats {word} that of {what}, chosen at random"
            f"{interval(effect, decimals=3, negate=effect.value < 0)}, {replicates_text(len(values))}{p}."
        )
        results.append(result(C11, context, arm, verdict, effect, sentence))
    return results


def _arms_by_choice(variant: VariantRun) -> tuple[list[str], list[str]]:
    """Arms with a selector by a signal, and arms whose selectors that compute are all random."""
    by_signal, at_random = [], []
    for arm in variant.arms:
        computed = [parse_selector(text).choice for text in variant.prepared.chosen.get(arm, ())]
        if any(choice is not None and choice.random_number is None for choice in computed):
            by_signal.append(arm)
        elif computed:
            at_random.append(arm)
    return by_signal, at_random


def _same_size(variant: VariantRun, arm: str, other: str) -> bool:
    sizes = [variant.of(name)[0].started.trained_parameters for name in (arm, other)]
    return abs(sizes[0] - sizes[1]) <= SAME_SIZE * sizes[0]


def _differences(variant: VariantRun, arm: str, controls: Sequence[str]) -> list[float]:
    """Held-out loss of `arm` minus the mean of its controls', for each replicate in which all of them finished."""
    losses = {name: _held_out(variant, name) for name in (arm, *controls)}
    seeds = [seed for seed in losses[arm] if all(seed in losses[name] for name in controls)]
    return [losses[arm][seed] - float(np.mean([losses[name][seed] for name in controls])) for seed in seeds]


def _held_out(variant: VariantRun, arm: str) -> Mapping[int, float]:
    found = {run.started.seed: scalars.held_out_after(run) for run in variant.of(arm) if run.finished is not None}
    return {seed: value for seed, value in found.items() if math.isfinite(value)}
