"""Which single numbers describe one arm of one replicate? Functions from an `ArmRun` to a number, NaN where unknown.

Inference over replicates compares these numbers in pairs; each is written once, here, for the arms' summaries, the
comparisons and the claims alike.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from frostline.stats.arm_run import ArmRun
from frostline.stats.intervals import slope

Floats = NDArray[np.float64]
EARLY_SHARE = 0.25
"""The early phase is the first quarter of the steps,"""
EARLY_STEPS = 8
"""but at least so many."""


def loss_first(run: ArmRun) -> float:
    """Training loss of the first step, nats."""
    return float(run.losses[0]) if len(run.losses) else math.nan


def loss_last(run: ArmRun) -> float:
    """Training loss, mean over the last tenth of the steps, nats."""
    return float(last_tenth(run.losses).mean()) if len(run.losses) else math.nan


def last_tenth(values: Floats) -> Floats:
    """The last tenth of `values`, at least one."""
    return values[len(values) - max(1, round(len(values) / 10)) :]


def loss_slope(run: ArmRun) -> float:
    """Least-squares slope of the training loss over all steps, nats per step."""
    return slope(run.losses)


def fall_per_doubling(run: ArmRun) -> float:
    """Least-squares slope of the training loss over log2(1 + step), each doubling weighing alike; nats per doubling.

    A loss falls ever more slowly. Over the steps themselves the slope would tell of the long end, where an arm that is
    done falling seems to fall less fast; so a step weighs 1 / (1 + step).
    """
    if len(run.losses) < 2:
        return math.nan
    taken = 1 + np.arange(len(run.losses), dtype=np.float64)
    place, weight = np.log2(taken), 1 / taken
    centred = place - weight @ place / weight.sum()
    return float((weight * centred) @ run.losses / (weight @ centred**2))


def loss_variance_early(run: ArmRun) -> float:
    """Variance of the detrended loss over the early phase, nats squared."""
    return detrended_variance(run.losses[: early_steps(len(run.losses))])


def loss_variance(run: ArmRun) -> float:
    """Variance of the detrended loss over all steps, nats squared."""
    return detrended_variance(run.losses)


def early_steps(steps: int) -> int:
    """Steps of the early phase of a run of `steps`."""
    return min(steps, max(EARLY_STEPS, math.ceil(EARLY_SHARE * steps)))


def detrended_variance(losses: Floats) -> float:
    """Variance of what each loss has beyond the mean of its two neighbours, nats squared; NaN below 6 steps.

    Two thirds of the mean squared pseudo-residual (Gasser, Sroka and Jennen-Steinmetz 1986, *Biometrika* 73:625): the
    noise from step to step, whatever the curve beneath it. With the curve left in, an arm whose loss falls faster
    would seem to vary more.
    """
    if len(losses) < 6 or not np.isfinite(losses).all():
        return math.nan
    beyond = losses[1:-1] - (losses[:-2] + losses[2:]) / 2
    return float(2 / 3 * np.mean(beyond**2))


def held_out_before(run: ArmRun) -> float:
    """Held-out loss before training, nats."""
    return run.held_out.get(0, math.nan)


def held_out_after(run: ArmRun) -> float:
    """Held-out loss at the last evaluation after training began, nats."""
    return _last(run.held_out)


def held_out_best(run: ArmRun) -> float:
    """Lowest held-out loss of any evaluation, that before training included: where early stopping would end, nats."""
    known = [value for value in run.held_out.values() if math.isfinite(value)]
    return min(known) if any(step > 0 for step in run.held_out) and known else math.nan


def overfitting(run: ArmRun) -> float:
    """Held-out minus training loss at the end, nats; known where the last step was evaluated."""
    steps = len(run.losses)
    return run.held_out[steps] - loss_last(run) if steps and steps in run.held_out else math.nan


def trained_before(run: ArmRun) -> float:
    """Loss on the sample of training windows before training, nats."""
    return run.trained.get(0, math.nan)


def trained_after(run: ArmRun) -> float:
    """Loss on the sample of training windows after training, nats."""
    return _last(run.trained)


def held_out_of(run: ArmRun, windows: NDArray[np.bool_], *, after: bool) -> float:
    """Held-out loss of those `windows` alone, before or after training, nats."""
    steps = [step for step in run.held_out_windows if (step > 0) == after]
    if not steps or len(windows) != len(run.window_predictions):
        return math.nan
    losses, counts = run.held_out_windows[max(steps)][windows], run.window_predictions[windows]
    kept = counts > 0
    return float(losses[kept] @ counts[kept] / counts[kept].sum()) if kept.any() else math.nan


def retention_before(run: ArmRun) -> float:
    """Loss on the retention corpus before training, nats."""
    return run.retention.get(0, math.nan)


def retention_after(run: ArmRun) -> float:
    """Loss on the retention corpus at the last evaluation, nats."""
    return _last(run.retention)


def forgetting(run: ArmRun) -> float:
    """Change of the loss on the retention corpus, nats; positive where the model forgot."""
    return retention_after(run) - retention_before(run)


def step_seconds(run: ArmRun) -> float:
    """Mean time of the timed steps."""
    return float(run.seconds[run.timed].mean()) if run.timed.any() else math.nan


def role_means(run: ArmRun, values: Floats, *, moved_only: bool = False) -> dict[str, float]:
    """Mean of `values` ([matrices]) over the watched matrices of each role, in the model's order of roles.

    `moved_only` leaves out those that are 0, which did not move; NaN where none is left.
    """
    if run.watched is None or len(values) != len(run.watched.roles):
        return {}
    roles = np.array(run.watched.roles)
    means = {}
    for role in dict.fromkeys(run.watched.roles):
        own = values[(roles == role) & ((values != 0) | (not moved_only))]
        means[role] = float(own.mean()) if len(own) else math.nan
    return means


def trained_change(run: ArmRun, names: frozenset[str] | None = None) -> tuple[NDArray[np.int64], Floats]:
    """Steps, and the mean weight change over the trained watched matrices at each, per unit of learning rate.

    Dividing by the learning rate keeps warm-up and decay from making the shape. A matrix that does not train yet
    (change 0) is left out of that step's mean; steps without any are left out. `names` restricts the matrices.
    """
    nothing = np.empty(0, dtype=np.int64), np.empty(0)
    if run.watched is None or not run.changes.size:
        return nothing
    chosen = np.array(run.watched.trained) & np.array([names is None or name in names for name in run.watched.names])
    rates = {step.step: step.learning_rate for step in run.steps}
    rate = np.array([rates.get(int(step), math.nan) for step in run.change_steps])
    changes = run.changes[:, chosen]
    moved = np.isfinite(changes) & (changes > 0)
    kept = moved.any(axis=1) & (rate > 0)
    if not kept.any():
        return nothing
    means = np.where(moved, changes, 0.0)[kept].sum(axis=1) / moved[kept].sum(axis=1)
    return run.change_steps[kept], means / rate[kept]


def _last(evaluations: dict[int, float]) -> float:
    step = max(evaluations, default=0)
    return evaluations[step] if step > 0 else math.nan
