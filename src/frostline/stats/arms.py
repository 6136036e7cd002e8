"""What came of each arm? One `ArmSummary`: every measure over its replicates, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from frostline.recipe import WrittenPlan
from frostline.run_folder import ArmFailed, TrueContinuation
from frostline.stats import scalars, stability, text_scores, timing, trade
from frostline.stats.arm_run import ArmRun
from frostline.stats.estimate import NOT_MEASURED, Estimate
from frostline.stats.intervals import (
    OVER_BLOCKS,
    OVER_CONTINUATIONS,
    bootstrap_mean,
    bootstrap_slope,
    nothing,
    t_interval,
)
from frostline.stats.pairs import pairs_of
from frostline.stats.per_seed import SeedResult, by_seed
from frostline.stats.rates import rate_chosen
from frostline.stats.runs import VariantRun
from frostline.stats.trade import AtEqualCost, ToLoss
from frostline.stats.who_gains import GainOfPart, gained_by

Floats = NDArray[np.float64]
NATS = "nats"


@dataclass(frozen=True)
class ArmSummary:
    """One arm over all replicates of one variant. Estimates run over replicates unless their `method` differs."""

    arm: str
    """Name of the arm."""
    plan: str
    """The plan in one line."""
    learning_rate: float
    """Peak learning rate."""
    replicates: int
    """Replicates that finished."""
    reused_from: list[str]
    """Earlier runs that replicates were taken from, name and time: not trained in this run."""
    failed: list[str]
    """One sentence for each replicate that failed."""
    parameters: int
    """Numbers in the model, adapters included."""
    trained_parameters: int
    """Numbers that train at step 0."""
    optimizer_bytes: int | None
    """Bytes of the optimizer's state at the end."""
    prefix_layers: int
    """Decoder layers below the lowest trainable parameter."""
    step_flops: float
    """Floating-point operations one step needs, by analysis."""
    ceiling: float
    """Largest saving that the needed operations allow, with a truncated backward."""
    ceiling_cached: float
    """Largest saving with the prefix's output stored."""
    loss_first: Estimate
    """Training loss of the first step."""
    loss_last: Estimate
    """Training loss, mean over the last tenth of the steps."""
    loss_slope: Estimate
    """Least-squares slope of the loss over steps, nats per step."""
    loss_variance_early: Estimate
    """Variance of the loss about its neighbours (noise from step to step) over the first quarter of the steps."""
    loss_variance: Estimate
    """Variance of the loss about its neighbours over all steps."""
    held_out_before: Estimate
    """Held-out loss before training."""
    held_out_after: Estimate
    """Held-out loss at the end."""
    overfitting: Estimate
    """Held-out minus training loss at the end."""
    retention_before: Estimate | None
    """Loss on the retention corpus before training."""
    retention_after: Estimate | None
    """Loss on the retention corpus at the end."""
    forgetting: Estimate | None
    """Change of the loss on the retention corpus."""
    common_share_before: Estimate | None
    """p before training: share of common tokens in the untouched model's continuations."""
    common_share_after: Estimate | None
    """p after training."""
    common_share_change: Estimate | None
    """delta p."""
    step_seconds: Estimate
    """Mean time of a timed step."""
    total_seconds: Estimate
    """Seconds of a replicate's timed steps, of which `saving` speaks; all steps are `training_seconds`."""
    saving: Estimate | None
    """r = (T_baseline - T) / T_baseline; None for the baseline."""
    tokens_per_second: Estimate
    """Tokens read over time, timed steps."""
    peak_bytes: int | None
    """Peak memory of the arm measured alone."""
    quality: dict[str, Estimate]
    """distinct_1, distinct_2, distinct_3, repetition, self_bleu, length, copied_share; distance to the held-out text's
    own values; from_untouched, the loss under the untouched model; judge_loss, that under a judge."""
    change_by_role: dict[str, Estimate]
    """Mean Frobenius norm of the weight change per step over the watched matrices of each role."""
    drift_by_role: dict[str, Estimate]
    """Frobenius norm of W_T - W_0, mean over the watched matrices of each role."""
    relative_drift_by_role: dict[str, Estimate]
    """Frobenius norm of W_T - W_0 over that of W_0, mean over the watched matrices of each role."""
    stable_rank_by_role: dict[str, Estimate]
    """Stable rank of W_T - W_0, mean over those watched matrices of each role that moved."""
    steps: int = 0
    """Optimizer steps, the most that a replicate took."""
    trained_before: Estimate | None = None
    """Loss on the fixed sample of training windows before training; None where less than an epoch was read."""
    trained_after: Estimate | None = None
    """Loss on the same training windows at the end."""
    held_out_by_overlap: dict[str, Estimate] = field(default_factory=dict)
    """Held-out loss of windows that hold a run of 16 tokens which also stands in the training text (`copied_before`,
    `copied_after`), and of the others (`new_before`, `new_after`); without what there are no windows of."""
    rate_chosen: str = ""
    """How its learning rate was found, such as `the best of 5 rates tried`; '' where the recipe gives it."""
    training_seconds: Estimate = NOT_MEASURED
    """Seconds of all steps of a replicate, untimed ones at the mean, and of its share of filling stored rows."""
    fill_seconds: float | None = None
    """That share, in `training_seconds`: what filling the rows below its frost line took, over all replicates."""
    at_equal_time: AtEqualCost | None = None
    """Beside the baseline in the time of the one that took less; None where times do not compare."""
    at_equal_flops: AtEqualCost | None = None
    """Beside the baseline at the operations of the one that needed fewer."""
    seconds_to_loss: ToLoss | None = None
    """Time to a loss that arm and baseline both reach; None where times do not compare."""
    share_of_gain_kept: Estimate | None = None
    """Fall of the held-out loss over that of the baseline, after all steps of each; None for the baseline."""
    widest_gap: Estimate | None = None
    """How far apart the held-out curves of arm and baseline ever are, with the reach of their simultaneous band."""
    diverged: list[int] = field(default_factory=list)
    """Seeds whose loss was not finite, or whose held-out loss ended above where it began."""
    clipped_share: Estimate | None = None
    """Share of the steps whose gradient was clipped; None where the recipe clips none."""
    seed_spread: Estimate = NOT_MEASURED
    """Standard deviation over replicates of the held-out loss at the end."""
    by_seed: list[SeedResult] = field(default_factory=list)
    """The replicates one by one."""
    gained_by: list[GainOfPart] = field(default_factory=list)
    """Who gained: the fall of the held-out loss by file, by how common a token is, and by copies; a split of one part
    is left out."""


def summarise_arm(variant: VariantRun, arm: str) -> ArmSummary:
    """Every number of one arm of one variant."""
    every, runs = variant.of(arm), variant.counting(arm)
    first = (runs or every)[0]
    finished = [run for run in every if run.finished is not None]
    optimizer = [run.finished.optimizer_bytes for run in finished if run.finished is not None]
    pairs = pairs_of(variant, arm)
    peak = variant.memory.get(arm)
    drawn = {name for arms in variant.prepared.chosen_by_seed.values() for name in arms}
    is_baseline, comparable = arm == variant.baseline, pairs.side_by_side()
    return ArmSummary(
        arm=arm,
        plan=first.started.plan if arm not in drawn else WrittenPlan.from_settings(variant.recipe.arms[arm]).text,
        learning_rate=first.started.learning_rate,
        replicates=len(finished),
        reused_from=sorted({run.trained_by for run in every if run.trained_by}),
        failed=[failure(run) for run in every if run.failed is not None],
        parameters=first.started.parameters,
        trained_parameters=first.started.trained_parameters,
        optimizer_bytes=max(optimizer) if optimizer else None,
        prefix_layers=first.started.prefix_layers,
        step_flops=first.started.step_flops,
        ceiling=first.started.ceiling,
        ceiling_cached=first.started.ceiling_cached,
        loss_first=over_replicates(runs, scalars.loss_first, NATS),
        loss_last=_loss_last(runs),
        loss_slope=_loss_slope(runs),
        loss_variance_early=over_replicates(runs, scalars.loss_variance_early, "nats squared"),
        loss_variance=over_replicates(runs, scalars.loss_variance, "nats squared"),
        held_out_before=over_replicates(runs, scalars.held_out_before, NATS),
        held_out_after=over_replicates(runs, scalars.held_out_after, NATS),
        overfitting=over_replicates(runs, scalars.overfitting, NATS),
        retention_before=_if_measured(runs, scalars.retention_before),
        retention_after=_if_measured(runs, scalars.retention_after),
        forgetting=_if_measured(runs, scalars.forgetting),
        common_share_before=_share([run.text_before for run in runs if run.text]),
        common_share_after=_share([run.text for run in runs]),
        common_share_change=_share_change(runs),
        step_seconds=timing.step_seconds(runs),
        total_seconds=timing.total_seconds(runs),
        saving=None if is_baseline else timing.saving(pairs).estimate("share", OVER_BLOCKS),
        tokens_per_second=timing.tokens_per_second(runs),
        peak_bytes=None if peak is None else peak.peak_bytes,
        quality=quality([run.text for run in runs]) | _distance([(run.text, run.true_text) for run in runs]),
        change_by_role=_by_role(runs, "norm", _mean_change),
        drift_by_role=_by_role(runs, "norm", lambda run: _final(run, "drift")),
        relative_drift_by_role=_by_role(runs, "share", lambda run: _final(run, "relative_drift")),
        stable_rank_by_role=_by_role(runs, "rank", lambda run: _final(run, "stable_rank"), moved_only=True),
        steps=max(len(run.steps) for run in every),
        trained_before=_if_measured(runs, scalars.trained_before),
        trained_after=_if_measured(runs, scalars.trained_after),
        held_out_by_overlap=_by_overlap(variant, runs),
        rate_chosen=rate_chosen(variant, arm),
        training_seconds=trade.over_seeds([trade.training_seconds(run) for run in timing.of_one_run(runs)], "seconds"),
        fill_seconds=next((run.fill_seconds for run in timing.of_one_run(runs) if run.fill_seconds), None),
        at_equal_time=None if is_baseline else trade.at_equal_cost(comparable, "seconds", trade.over_seconds),
        at_equal_flops=None if is_baseline else trade.at_equal_cost(pairs, "flops", trade.over_flops),
        seconds_to_loss=None if is_baseline else trade.seconds_to_loss(comparable),
        share_of_gain_kept=None if is_baseline else trade.share_of_gain_kept(pairs),
        widest_gap=None if is_baseline else trade.widest_gap(pairs),
        diverged=[run.seed for run in every if stability.diverged(run)],
        clipped_share=stability.clipped_share(runs, variant.recipe.training.gradient_clipping),
        seed_spread=stability.seed_spread(runs),
        by_seed=by_seed(variant, arm, pairs),
        gained_by=gained_by(variant, arm, pairs),
    )


def failure(run: ArmRun) -> str:
    """One sentence about a replicate that failed."""
    return "" if run.failed is None else failure_of(run.failed)


def failure_of(failed: ArmFailed) -> str:
    """Why an arm failed, in a sentence."""
    return f"{failed.arm}, seed {failed.seed}, stopped at step {failed.step}: {failed.cause.rstrip('.')}."


def over_replicates(runs: Sequence[ArmRun], measure: Callable[[ArmRun], float], unit: str) -> Estimate:
    """Mean of `measure` over replicates with its t interval."""
    return t_interval([measure(run) for run in runs], unit)


def quality(texts: Sequence[text_scores.Text]) -> dict[str, Estimate]:
    """Every measure of text quality; empty where no text was sampled."""
    if not any(texts):
        return {}
    return {name: text_scores.estimate(texts, score) for name, score in text_scores.QUALITY.items()}


def quality_before(runs: Sequence[ArmRun]) -> dict[str, Estimate]:
    """Every measure of the untouched model's text."""
    before = [(run.text_before, run.true_text) for run in runs]
    return quality([text for text, _ in before]) | _distance(before)


def quality_reference(runs: Sequence[ArmRun]) -> dict[str, Estimate]:
    """The same of how the held-out text itself goes on, and its share of common tokens."""
    texts = [run.true_text for run in runs]
    if not any(texts):
        return {}
    share = text_scores.estimate(texts, text_scores.COMMON_SHARE)
    return quality(texts) | {"common_share": share} | _distance([(text, text) for text in texts])


def _distance(texts: Sequence[tuple[text_scores.Text, Sequence[TrueContinuation]]]) -> dict[str, Estimate]:
    """Distance to the held-out text's own values, over replicates; nothing where it was not recorded."""
    found = [text_scores.distance(text, truth) for text, truth in texts if text and truth]
    return {text_scores.DISTANCE: t_interval(found, "share")} if found else {}


def _loss_last(runs: Sequence[ArmRun]) -> Estimate:
    if len(runs) != 1:
        return over_replicates(runs, scalars.loss_last, NATS)
    return bootstrap_mean([scalars.last_tenth(runs[0].losses)]).estimate(NATS, OVER_BLOCKS)


def _loss_slope(runs: Sequence[ArmRun]) -> Estimate:
    unit = "nats per step"
    if len(runs) != 1:
        return over_replicates(runs, scalars.loss_slope, unit)
    return bootstrap_slope([runs[0].losses]).estimate(unit, OVER_BLOCKS)


def _if_measured(runs: Sequence[ArmRun], measure: Callable[[ArmRun], float]) -> Estimate | None:
    found = over_replicates(runs, measure, NATS)
    return None if found.value is None else found


def _by_overlap(variant: VariantRun, runs: Sequence[ArmRun]) -> dict[str, Estimate]:
    copied = np.array(variant.prepared.corpus.held_out_window_overlap) > 0
    found = {
        f"{name}_{when}": over_replicates(
            runs, partial(scalars.held_out_of, windows=chosen, after=when == "after"), NATS
        )
        for name, chosen in (("copied", copied), ("new", ~copied))
        for when in ("before", "after")
    }
    return {key: estimate for key, estimate in found.items() if estimate.value is not None}


def _share(texts: Sequence[text_scores.Text]) -> Estimate | None:
    return text_scores.estimate(texts, text_scores.COMMON_SHARE) if any(texts) else None


def _share_change(runs: Sequence[ArmRun]) -> Estimate | None:
    texts = [(run.text, run.text_before) for run in runs if run.text and run.text_before]
    if not texts:
        return None
    return text_scores.difference(texts).estimate("share", OVER_CONTINUATIONS, (-1.0, 1.0))


def _by_role(
    runs: Sequence[ArmRun], unit: str, measure: Callable[[ArmRun], Floats], *, moved_only: bool = False
) -> dict[str, Estimate]:
    means = [scalars.role_means(run, measure(run), moved_only=moved_only) for run in runs]
    roles = dict.fromkeys(role for own in means for role in own)
    found = {role: t_interval([own.get(role, math.nan) for own in means], unit) for role in roles}
    return {role: estimate if estimate.value is not None else nothing(unit) for role, estimate in found.items()}


def _mean_change(run: ArmRun) -> Floats:
    return run.changes.mean(axis=0) if run.changes.size else np.empty(0)


def _final(run: ArmRun, name: str) -> Floats:
    return run.final.get(name, np.empty(0))
