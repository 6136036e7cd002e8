"""Does freezing pay most where data is scarce? C12: held-out loss at each arm's best evaluation and best rate.

How much an arm overfits decides nothing: one that only learns less overfits less. What counts is whether it ends at a
lower held-out loss, where data is scarcest, and less so where there is more. Early stopping is given to both arms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from frostline.readable import loss, significant
from frostline.stats import scalars
from frostline.stats.arm_run import ArmRun
from frostline.stats.claims.context import BEST, FINISH, Context, Obstacle, common_arms, pairs_in, rates_of, rates_text
from frostline.stats.claims.definitions import C12
from frostline.stats.claims.verdicts import (
    SUPPORTED,
    UNDECIDED,
    Verdict,
    across_variants,
    both,
    over_replicates,
    replicates_text,
    unanswered,
)
from frostline.stats.intervals import Floats, t_interval
from frostline.stats.summary import ClaimResult
from frostline.stats.wording import interval, with_p


def judge_scarcity(contexts: Sequence[Context]) -> list[ClaimResult]:
    """C12: over variants with different amounts of data against parameters."""
    ratios = [context.variant.prepared.corpus.tokens / context.variant.prepared.parameters for context in contexts]
    arms = common_arms(contexts)
    if len(set(ratios)) < 2 or not arms:
        obstacle = Obstacle(
            "All of this run used one amount of data against parameters.",
            "An experiment with 'vary: {corpus.tokens: [...]}', such as the recipe 'scarcity'.",
        )
        return [unanswered(C12, obstacle)]
    scarcest = int(np.argmin(ratios))
    context = contexts[scarcest]
    epochs = _epochs(context)
    if epochs < 1:
        label = context.variant.label
        sentence = f"At {label} an epoch was not over ({significant(epochs, 2)}): no text was met twice."
        return [unanswered(C12, Obstacle(sentence, "An epoch or more at the scarcest variant."))]
    advantages = {arm: _advantages(contexts, arm) for arm in arms}
    verdicts = scarcity_verdicts(list(advantages.values()), np.log2(ratios))
    results = []
    for (arm, table), verdict in zip(advantages.items(), verdicts, strict=True):
        if not len(table):
            results.append(unanswered(C12, Obstacle(f"{arm} has no replicate that ran in every variant.", FINISH), arm))
            continue
        effect = t_interval(table[:, scarcest], "nats")
        slope = t_interval(table @ slope_weights(np.log2(ratios)), "nats per doubling")
        assert effect.value is not None
        sentence = (
            f"At {context.variant.label} the best held-out loss of {arm} was {loss(abs(effect.value))} nats "
            f"{'below' if effect.value > 0 else 'above'} that of {context.full}"
            f"{interval(effect, decimals=3, negate=effect.value < 0)}, {rates_text(pairs_in(context, arm))}; with each "
            f"doubling of the data per parameter this changed by {loss(slope.value)}{interval(slope, decimals=3)} "
            f"nats{_gap_text(context, arm)}, {replicates_text(effect.n)}{with_p(verdict.p_value)}."
        )
        results.append(across_variants(C12, arm, _at_best_rates(context, verdict), effect, sentence))
    return results


def scarcity_verdicts(tables: Sequence[Floats], place: Floats) -> list[Verdict]:
    """A verdict for each arm's advantages ([replicates, variants]); `place` is log2 of the data per parameter."""
    scarcest, weights = int(np.argmin(place)), slope_weights(place)
    pays = over_replicates([table[:, scarcest] if len(table) else np.empty(0) for table in tables], 1)
    fades = over_replicates([table @ weights if len(table) else np.empty(0) for table in tables], -1)
    return [both(first, second) for first, second in zip(pays, fades, strict=True)]


def slope_weights(place: Floats) -> Floats:
    """What values at `place` are multiplied with to give their least-squares slope."""
    centred = place - place.mean()
    found: Floats = centred / (centred**2).sum()
    return found


def _at_best_rates(context: Context, verdict: Verdict) -> Verdict:
    if verdict.verdict != SUPPORTED or rates_of(context.variant.recipe) == BEST:
        return verdict
    decides = "Each arm at its own best learning rate (learning_rate: best): at given ones the rates may decide it."
    return Verdict(UNDECIDED, verdict.p_value, decides, verdict.scope)


def _epochs(context: Context) -> float:
    """How often the shortest run of the variant read its text."""
    training = context.variant.recipe.training
    steps = min((len(run.losses) for run in context.variant.counting(context.full)), default=0)
    return steps * training.batch * training.accumulation / max(1, context.variant.prepared.corpus.windows)


def _advantages(contexts: Sequence[Context], arm: str) -> Floats:
    """Best held-out loss of the full arm minus that of `arm`, [replicates that ran in every variant, variants]."""
    tables = [
        {pair.seed: -pair.difference(scalars.held_out_best) for pair in pairs_in(context, arm).pairs}
        for context in contexts
    ]
    rows = [[table.get(seed, math.nan) for table in tables] for seed in contexts[0].variant.seeds]
    kept = [row for row in rows if all(math.isfinite(one) for one in row)]
    return np.array(kept, dtype=np.float64).reshape(len(kept), len(contexts))


def _gap_text(context: Context, arm: str) -> str:
    """How much less the arm overfits at the end: held-out minus training windows, where both were evaluated."""
    gap = t_interval(pairs_in(context, arm).differences(trained_gap), "nats").value
    if gap is None:
        return ""
    return f" (at the end it overfits {loss(abs(gap))} nats {'less' if gap < 0 else 'more'})"


def trained_gap(run: ArmRun) -> float:
    """Held-out loss minus that of a fixed sample of training windows at the end, nats; NaN where not evaluated."""
    trained = run.trained
    last = max(trained, default=0)
    return run.held_out[last] - trained[last] if last > 0 and last in run.held_out else math.nan
