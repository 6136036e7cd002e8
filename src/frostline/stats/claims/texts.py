"""What does the generated text say? C3 (style), C4 (sampling noise), C9 (loss against quality)."""

from __future__ import annotations

import numpy as np

from frostline.readable import loss, percent, points, significant
from frostline.stats import scalars, text_scores
from frostline.stats.arm_run import ArmRun
from frostline.stats.claims.context import FINISH, Context, Obstacle
from frostline.stats.claims.definitions import C3, C4, C9, DISTANCE_MARGIN, SHARE_MARGIN
from frostline.stats.claims.verdicts import (
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    Verdict,
    in_these_runs,
    over_replicates,
    replicates_text,
    result,
    too_few,
    untested,
)
from frostline.stats.comparisons import Measure
from frostline.stats.estimate import Estimate
from frostline.stats.intervals import OVER_CONTINUATIONS, Bootstrap, Floats, nothing, t_interval
from frostline.stats.pairs import Pairs
from frostline.stats.significance import ALPHA, guarded_p, holm
from frostline.stats.summary import ClaimResult
from frostline.stats.wording import interval, p_text

SAMPLE = "A run that samples text (measures.sampling.prompts above 0)."
ANEW = "A run of this version; with prompts after which the held-out windows still go on."


def judge_style(context: Context) -> list[ClaimResult]:
    """C3, on the full arm and on each frozen arm."""
    arms = [context.full, *(pairs.arm for pairs in context.frozen)]
    runs = {arm: [run for run in context.variant.counting(arm) if run.text and run.text_before] for arm in arms}
    runs = {arm: found for arm, found in runs.items() if found}
    if not runs:
        return [untested(C3, context, Obstacle("No text was sampled before and after training.", SAMPLE))]
    target = context.variant.prepared.common_share_of_corpus
    changes = {arm: [_style_change(run, target) for run in found] for arm, found in runs.items()}
    verdicts = over_replicates(list(changes.values()), -1)
    results = []
    for (arm, found), verdict in zip(runs.items(), verdicts, strict=True):
        effect = _style_effect(found, target)
        before = text_scores.estimate([run.text_before for run in found], text_scores.COMMON_SHARE)
        after = text_scores.estimate([run.text for run in found], text_scores.COMMON_SHARE)
        p = f" ({p_text(verdict.p_value)})" if verdict.p_value is not None else ""
        side = "nearer to" if (effect.value or 0.0) < 0 else "farther from"
        negate = (effect.value or 0.0) < 0
        sentence = (
            f"The share of common tokens went from {percent(before.value)} to {percent(after.value)} in {arm}: "
            f"{points(abs(effect.value or 0.0))}{interval(effect, as_percent=True, negate=negate)} {side} the "
            f"{percent(target)} of the corpus, {replicates_text(len(found))}{p}."
        )
        results.append(result(C3, context, arm, verdict, effect, sentence))
    return results


def _style_change(run: ArmRun, target: float) -> float:
    """How much farther from the corpus's own p training has led."""
    return abs(text_scores.share_after(run) - target) - abs(text_scores.share_before(run) - target)


def _style_effect(runs: list[ArmRun], target: float) -> Estimate:
    if len(runs) > 1:
        return t_interval([_style_change(run, target) for run in runs], "share")
    found = text_scores.difference([(run.text, run.text_before) for run in runs], target=target)
    return found.estimate("share", OVER_CONTINUATIONS, (-1.0, 1.0))


def judge_sampling_noise(context: Context) -> list[ClaimResult]:
    """C4."""
    if context.frozen_obstacle:
        return [untested(C4, context, context.frozen_obstacle)]
    found = {
        pairs.arm: text_scores.difference(
            [(pair.arm.text, pair.baseline.text) for pair in pairs.pairs if pair.arm.text and pair.baseline.text]
        )
        for pairs in context.frozen
    }
    p_values = holm([one.p_value() if np.isfinite(one.value) else None for one in found.values()])
    results = []
    for (arm, one), p in zip(found.items(), p_values, strict=True):
        effect = one.estimate("share", f"{OVER_CONTINUATIONS}, within runs", (-1.0, 1.0))
        if effect.value is None:
            results.append(untested(C4, context, Obstacle(f"No text of {arm} and {context.full}.", SAMPLE), arm))
            continue
        verdict = noise_verdict(one, p)
        more = "more" if effect.value > 0 else "less"
        sentence = (
            f"The share of common tokens of {arm} was {points(abs(effect.value))} {more} than that of {context.full}"
            f"{interval(effect, as_percent=True, negate=effect.value < 0)}, {in_these_runs(one.strata)}"
            + (", so that there is no excess to explain." if effect.value <= 0 else ".")
        )
        results.append(result(C4, context, arm, verdict, effect, sentence))
    return results


def noise_verdict(found: Bootstrap, p: float | None) -> Verdict:
    """The verdict on C4 from the difference of the shares, and its p over arms."""
    if found.value <= 0:
        return Verdict(UNDECIDED, p, "A run in which the frozen arm's share does exceed the full arm's.")
    if p is not None and p < ALPHA:
        return Verdict(REFUTED, p)
    if found.enough:
        low, high = found.interval(1 - 2 * ALPHA)
        if low > -SHARE_MARGIN and high < SHARE_MARGIN:
            return Verdict(SUPPORTED, p)
    return Verdict(UNDECIDED, p, "More prompts or draws (measures.sampling): the interval is wider than the margin.")


def judge_loss_against_text(context: Context) -> list[ClaimResult]:
    """C9, on every arm whose loss can differ from the baseline's."""
    arms = (*context.frozen, *context.reversed)
    if not arms:
        return [untested(C9, context, Obstacle("There is no second arm with another plan.", "An arm that freezes."))]
    if not any(pair.arm.text and pair.baseline.text for pairs in arms for pair in pairs.pairs):
        return [untested(C9, context, Obstacle("No text was sampled after training.", SAMPLE))]
    losses = {pairs.arm: _paired(pairs, scalars.held_out_after) for pairs in arms}
    # How much nearer to the held-out text the arm of the lower loss is.
    gains = {
        pairs.arm: _paired(pairs, text_scores.text_distance) * (1 if losses[pairs.arm].sum() > 0 else -1)
        for pairs in arms
    }
    if not any(len(own) for own in gains.values()):
        return [untested(C9, context, Obstacle("It was not recorded how the held-out text itself goes on.", ANEW))]
    of_loss = holm([guarded_p(own) for own in losses.values()])
    of_text = holm([guarded_p(own - DISTANCE_MARGIN) for own in gains.values()])
    return [
        _loss_against_text(context, pairs, losses[pairs.arm], gains[pairs.arm], p, p_text)
        for pairs, p, p_text in zip(arms, of_loss, of_text, strict=True)
    ]


def _loss_against_text(
    context: Context, pairs: Pairs, losses: Floats, gains: Floats, p_loss: float | None, p_gain: float | None
) -> ClaimResult:
    if not len(losses):
        return untested(C9, context, Obstacle(f"{pairs.arm} has no replicate with loss and text.", FINISH), pairs.arm)
    gap = float(losses.mean())
    effect = t_interval(gains, "share") if gap else nothing("share")
    if effect.value is None:
        verdict = Verdict(UNDECIDED, p_loss, "Arms whose losses differ.")
        return result(C9, context, pairs.arm, verdict, effect, f"The losses of {pairs.arm} and the baseline are equal.")
    lower, higher = (pairs.arm, pairs.baseline) if gap < 0 else (pairs.baseline, pairs.arm)
    side = "nearer to" if effect.value > 0 else "farther from"
    sentence = (
        f"{lower} had the lower held-out loss, by {loss(abs(gap))} nats, and its text was "
        f"{significant(abs(effect.value), 2)}{interval(effect, decimals=3, negate=effect.value < 0)} {side} the "
        f"held-out text's own values than that of {higher}, {replicates_text(len(gains))}."
    )
    verdict = text_verdict(gains, p_loss, p_gain, len(context.frozen) + len(context.reversed))
    return result(C9, context, pairs.arm, verdict, effect, sentence)


def text_verdict(gains: Floats, p_loss: float | None, p_gain: float | None, arms: int) -> Verdict:
    """The verdict on C9 from how much nearer the lower loss's text is, and the p-values of loss and gain over arms."""
    if p_loss is None or p_gain is None or p_loss >= ALPHA:
        return Verdict(UNDECIDED, p_loss, too_few(len(gains), arms))
    p = max(p_loss, p_gain)
    if p_gain >= ALPHA:
        return Verdict(UNDECIDED, p, "More prompts or draws (measures.sampling), or more replicates.")
    return Verdict(REFUTED if float(gains.mean()) > DISTANCE_MARGIN else SUPPORTED, p)


def _paired(pairs: Pairs, measure: Measure) -> Floats:
    """Differences of `measure`, arm minus baseline, over those replicates that have both loss and text."""
    both = [
        pair
        for pair in pairs.pairs
        if np.isfinite(pair.difference(scalars.held_out_after))
        and np.isfinite(pair.difference(text_scores.text_distance))
    ]
    return np.array([pair.difference(measure) for pair in both], dtype=np.float64)
