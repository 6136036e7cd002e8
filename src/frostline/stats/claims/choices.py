"""Does choosing by looking inside the model beat chance? C11: arms chosen by a signal, random ones of their size.

Two questions. Whether *this choice* beats the average random plan is asked over replicates, each of which draws a
random plan of its own. Whether *looking inside* helps is another: a worthless signal's choice is one random plan, and
one in two of those beats the average. That is asked with plans as units (its rank among many random ones), or texts.

What each selector that computes became stands in the journal (`VariantPrepared.chosen` and `chosen_by_seed`), so that
an arm is known by how it was chosen, whatever its name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from frostline.readable import loss, p_value, plural
from frostline.recipe import parse_selector
from frostline.stats import scalars
from frostline.stats.claims.context import FINISH, Context, Obstacle
from frostline.stats.claims.definitions import C11, C11_LOOKING, LEAST_PLANS, SAME_SIZE
from frostline.stats.claims.verdicts import (
    SUPPORTED,
    UNDECIDED,
    Verdict,
    across_variants,
    over_replicates,
    replicates_text,
    result,
    untested,
)
from frostline.stats.intervals import t_interval
from frostline.stats.runs import VariantRun
from frostline.stats.significance import ALPHA, holm
from frostline.stats.summary import ClaimResult
from frostline.stats.wording import interval, p_text

HOW = (
    "An arm chosen by a signal ('train: [top:25% by fisher]') and random ones of its size, drawn anew for each seed "
    "('top:25% by random')."
)
ANEW = "Random plans that are drawn anew for each seed ('top:25% by random'): these are the same in all."
LOOKING = (
    f"{LEAST_PLANS} random plans of its size or more ('top:25% by random' in several arms and seeds), or a run over "
    "texts (vary: corpus.source), six or more."
)
VARIED_TEXT = "corpus.source="


@dataclass(frozen=True)
class Choice:
    """One arm chosen by a signal, with random ones of its size."""

    arm: str
    anew: tuple[str, ...]
    """Those that are drawn anew for each seed."""
    fixed: tuple[str, ...]
    """Those that are the same in every seed."""


def judge_choice(context: Context) -> list[ClaimResult]:
    """C11, of each choice: against the average random plan."""
    variant = context.variant
    choices, obstacle = choices_of(variant)
    if obstacle is not None:
        return [untested(C11, context, obstacle)]
    differences = {choice: _differences(variant, choice.arm, choice.anew or choice.fixed) for choice in choices}
    verdicts = over_replicates(list(differences.values()), -1)
    results = []
    for (choice, values), verdict in zip(differences.items(), verdicts, strict=True):
        effect = t_interval(values, "nats")
        others = choice.anew or choice.fixed
        if effect.value is None:
            ended = Obstacle(f"{choice.arm} and {' and '.join(others)} have no finished replicate in common.", FINISH)
            results.append(untested(C11, context, ended, choice.arm))
            continue
        # One random plan for all seeds is one plan: replicates say nothing of the others.
        verdict = verdict if choice.anew else Verdict(UNDECIDED, None, ANEW)
        word = "above" if effect.value > 0 else "below"
        p = f" ({p_text(verdict.p_value)})" if verdict.p_value is not None else ""
        what = others[0] if len(others) == 1 else f"the mean of {', '.join(others)}"
        drawn = "drawn at random for each seed" if choice.anew else "chosen at random, the same in every seed"
        sentence = (
            f"The held-out loss of {choice.arm} ended {loss(abs(effect.value))} nats {word} that of {what}, {drawn}"
            f"{interval(effect, decimals=3, negate=effect.value < 0)}, {replicates_text(len(values))}{p}."
        )
        results.append(result(C11, context, choice.arm, verdict, effect, sentence))
    return results


def judge_looking(contexts: Sequence[Context]) -> list[ClaimResult]:
    """C11, of looking inside: over texts where these vary, else by the rank among many random plans."""
    texts = [context for context in contexts if context.variant.label.startswith(VARIED_TEXT)]
    if len(texts) > 1:
        return _over_texts(texts)
    return [claim for context in contexts for claim in _by_rank(context)]


def _by_rank(context: Context) -> list[ClaimResult]:
    variant = context.variant
    choices, _ = choices_of(variant)
    plans = {choice: _plans(variant, choice) for choice in choices}
    if not any(plans.values()):
        few = Obstacle("Whether looking inside helps was not tested: no choice stands beside random ones.", LOOKING)
        return [untested(C11_LOOKING, context, few)]
    p_values = holm([rank_p(list(own.values())) for own in plans.values()])
    results = []
    for (choice, own), p in zip(plans.items(), p_values, strict=True):
        values = list(own.values())
        effect = t_interval([-value for value in values], "nats")
        verdict = rank_verdict(values, p)
        better = sum(value <= 0 for value in values)
        chance = f" (p = {p_value(p)})" if p is not None and len(values) >= LEAST_PLANS else ""
        sentence = (
            f"{plural(better, 'random plan')} of {len(values)} of its size ended at or below the held-out loss of "
            f"{choice.arm}{chance}."
        )
        results.append(result(C11_LOOKING, context, choice.arm, verdict, effect, sentence))
    return results


def _over_texts(contexts: Sequence[Context]) -> list[ClaimResult]:
    """Each text gives one difference; texts for which a signal has chosen one and the same plan count as one."""
    by_text = [{choice.arm: choice for choice in choices_of(context.variant)[0]} for context in contexts]
    arms = [arm for arm in by_text[0] if all(arm in own and own[arm].anew for own in by_text)]
    if not arms:
        few = Obstacle("No arm was chosen by a signal in every text beside plans drawn anew for each seed.", HOW)
        return [
            across_variants(C11_LOOKING, "", Verdict(UNDECIDED, None, few.decides), t_interval([], ""), few.sentence)
        ]
    differences: dict[str, list[float]] = {}
    for arm in arms:
        same: dict[str, list[float]] = {}
        for context, own in zip(contexts, by_text, strict=True):
            found = _differences(context.variant, arm, own[arm].anew)
            if found:
                same.setdefault(str(context.variant.prepared.chosen[arm]), []).append(float(np.mean(found)))
        differences[arm] = [float(np.mean(values)) for values in same.values()]
    results = []
    for arm, verdict in zip(arms, over_replicates(list(differences.values()), -1), strict=True):
        effect = t_interval(differences[arm], "nats")
        if verdict.verdict == UNDECIDED:
            more = f"More texts: {len(differences[arm])} for which the signal has chosen differently; six at least."
            verdict = Verdict(UNDECIDED, verdict.p_value, more)
        value = effect.value or 0.0
        p = f" ({p_text(verdict.p_value)})" if verdict.p_value is not None else ""
        sentence = (
            f"Over {plural(len(differences[arm]), 'text')} the held-out loss of {arm} ended {loss(abs(value))} nats "
            f"{'above' if value > 0 else 'below'} that of the average random plan of its size"
            f"{interval(effect, decimals=3, negate=value < 0)}{p}."
        )
        results.append(across_variants(C11_LOOKING, arm, verdict, effect, sentence))
    return results


def rank_p(differences: Sequence[float]) -> float | None:
    """One-sided p of a plan's rank among random ones: `differences` are their losses minus its own, one for each plan.

    If the plan were drawn like the others, each rank would be as likely. None without any other plan.
    """
    if not differences:
        return None
    return (1 + sum(value <= 0 for value in differences)) / (len(differences) + 1)


def rank_verdict(differences: Sequence[float], p: float | None) -> Verdict:
    """Coming before enough random plans supports; a low rank decides nothing."""
    enough = len(differences) >= LEAST_PLANS
    return Verdict(SUPPORTED, p) if enough and p is not None and p <= ALPHA else Verdict(UNDECIDED, p, LOOKING)


def choices_of(variant: VariantRun) -> tuple[list[Choice], Obstacle | None]:
    """Arms with a selector by a signal that have random ones of their size; else what is missing."""
    computed = {arm: list(own) for arm, own in variant.prepared.chosen.items()}
    for drawn in variant.prepared.chosen_by_seed.values():
        for arm, own in drawn.items():
            computed[arm] = [*computed.get(arm, ()), *own]
    by_signal: list[str] = []
    anew: list[str] = []
    fixed: list[str] = []
    for arm in variant.arms:
        chosen = [choice for text in computed.get(arm, ()) if (choice := parse_selector(text).choice) is not None]
        if any(not choice.at_random for choice in chosen):
            by_signal.append(arm)
        elif chosen:
            (anew if all(choice.for_each_seed for choice in chosen) else fixed).append(arm)
    found = [
        Choice(arm, *(tuple(other for other in others if _same_size(variant, arm, other)) for others in (anew, fixed)))
        for arm in by_signal
    ]
    found = [choice for choice in found if choice.anew or choice.fixed]
    if found:
        return found, None
    what = "chosen by a signal of the model" if not by_signal else f"chosen at random, of the size of {by_signal[0]}"
    return [], Obstacle(f"No arm was {what}.", HOW)


def _plans(variant: VariantRun, choice: Choice) -> dict[str, float]:
    """Held-out loss of each random plan, over the seeds that have it, minus that of the choice in the same seeds."""
    chosen = _held_out(variant, choice.arm)
    found: dict[str, list[float]] = {}
    for other in (*choice.anew, *choice.fixed):
        losses = _held_out(variant, other)
        for run in variant.of(other):
            if run.seed in losses and run.seed in chosen:
                found.setdefault(run.started.plan, []).append(losses[run.seed] - chosen[run.seed])
    return {plan: float(np.mean(values)) for plan, values in found.items()}


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
