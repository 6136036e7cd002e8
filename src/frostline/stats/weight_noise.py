"""How far would AdamW move a matrix if its gradients were noise? The curve that every weight change begins with.

AdamW divides a mean of the last gradients by the root of the mean of their squares. Of gradients that are white noise,
the first update is 1 for every weight, and later ones shrink, as the mean averages more and more of them. Per unit of
learning rate the root mean square of an update is, for a beta2 near 1,

    c(t) = sqrt((1 - b1) / (1 + b1) * (1 + b1^t) / (1 - b1^t)):  1, 0.708, 0.579, 0.503, ... 0.229 for b1 = 0.9,

with t counted from where the matrix began to train: exactly so, since each square's share of their sum is 1/t on
average, however they are spread. For a smaller beta2 `noise_curve` integrates the expectation for normal gradients.
What the change divided by this leaves is how much the gradients of neighbouring steps agree: 1 means noise.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from frostline.stats.arm_run import ArmRun

Floats = NDArray[np.float64]
SMALLEST_BETA2 = 0.9
"""Below, single updates are so large that their mean square says little."""
_GRID = np.linspace(-12.0, 30.0, 300)


def closed_form(beta1: float, steps: Floats) -> Floats:
    """c(t) for a beta2 near 1, [steps], of steps counted from 1."""
    power = beta1**steps
    found: Floats = np.sqrt((1 - beta1) / (1 + beta1) * (1 + power) / (1 - power))
    return found


@lru_cache(maxsize=16)
def _corrections(beta1: float, beta2: float) -> tuple[Floats, Floats]:
    """Steps, and c(t) over its closed form there; constant beyond the last one."""
    longest = min(4000.0, max(60.0, 8 / (1 - beta2))) if beta2 < 1 else 60.0
    steps = np.unique(np.concatenate([np.arange(1, 13), np.geomspace(12, longest, 24).round()]))
    values = np.array([_exact(beta1, beta2, int(step)) for step in steps])
    return np.log(steps), values / closed_form(beta1, steps)


def _exact(beta1: float, beta2: float, step: int) -> float:
    """Root of E[(sum a_i g_i)^2 / sum w_i g_i^2] for independent standard normal g.

    1 / x is the integral of exp(-s x) over s, and under it each g has an expectation of its own:
    sum a_i^2 / (1 + 2 w_i s) times the product of (1 + 2 w_j s)^(-1/2), integrated over s.
    """
    if step == 1 or beta2 >= 1:
        return float(closed_form(beta1, np.array([float(step)]))[0])
    ago = np.arange(step)
    first = (1 - beta1) * beta1**ago / (1 - beta1**step)
    second = (1 - beta2) * beta2**ago / (1 - beta2**step)
    s = np.exp(_GRID)
    below = 1 + 2 * s[:, None] * second
    integrand = (first**2 / below).sum(axis=1) * np.exp(-0.5 * np.log(below).sum(axis=1)) * s
    return float(np.sqrt(np.trapezoid(integrand, _GRID)))


def noise_curve(betas: tuple[float, float], steps: Floats) -> Floats:
    """c(t) at `steps` counted from 1, [steps]."""
    at, corrections = _corrections(*betas)
    found: Floats = closed_form(betas[0], steps) * np.interp(np.log(steps), at, corrections)
    return found


def is_adapter(run: ArmRun) -> bool:
    """Whether the arm trains adapters, whose product is no single AdamW update."""
    return run.started.plan.startswith("lora")


def noise_change(run: ArmRun, betas: tuple[float, float]) -> Floats:
    """The change that gradients of pure noise would have made, [measured, matrices]; NaN where it cannot be known.

    The first update of a matrix is the learning rate times the root of its size: that gives the size. A matrix whose
    first update was not measured takes that of another of its role.
    """
    expected = np.full(run.changes.shape, np.nan)
    if run.watched is None or not run.changes.size or is_adapter(run) or betas[1] < SMALLEST_BETA2:
        return expected
    taken = {step.step: step.learning_rate for step in run.steps}
    rate = np.array([taken.get(int(step), np.nan) for step in run.change_steps])
    first = _first_steps(run)
    age = run.change_steps[:, None] - first[None, :] + 1.0
    scale = np.where((age == 1) & (rate[:, None] > 0), run.changes / rate[:, None], np.nan)
    roots = np.array([column[np.isfinite(column)][0] if np.isfinite(column).any() else np.nan for column in scale.T])
    roles = np.array(run.watched.roles)
    for role in set(run.watched.roles):
        known = roots[(roles == role) & np.isfinite(roots)]
        if len(known):
            roots[(roles == role) & ~np.isfinite(roots)] = known[0]
    trained = age >= 1
    expected[trained] = (rate[:, None] * roots[None, :])[trained] * noise_curve(betas, age[trained])
    return expected


def coherence(
    run: ArmRun, betas: tuple[float, float], names: frozenset[str] | None = None
) -> tuple[NDArray[np.int64], Floats]:
    """Steps, and the mean over trained watched matrices of the change over that of noise. `names` restricts them."""
    expected = noise_change(run, betas)
    if run.watched is None or not expected.size:
        return np.empty(0, dtype=np.int64), np.empty(0)
    chosen = np.array(run.watched.trained) & np.array([names is None or name in names for name in run.watched.names])
    usable = np.isfinite(expected) & (expected > 0) & np.isfinite(run.changes) & (run.changes > 0) & chosen[None, :]
    kept = usable.any(axis=1)
    ratios = np.where(usable, run.changes, 0.0)[kept] / np.where(usable, expected, 1.0)[kept]
    return run.change_steps[kept], ratios.sum(axis=1) / usable[kept].sum(axis=1)


def _first_steps(run: ArmRun) -> Floats:
    """The step at which each watched matrix began to train, [matrices]; NaN where it never did.

    A plan's change thaws between two measurements at times: then the change's own step is the first.
    """
    moved = np.isfinite(run.changes) & (run.changes > 0)
    found = np.full(moved.shape[1], np.nan)
    thaws = [change.step for change in run.plan_changes]
    for place in np.flatnonzero(moved.any(axis=0)):
        row = int(np.argmax(moved[:, place]))
        measured, before = int(run.change_steps[row]), int(run.change_steps[row - 1]) if row else -1
        found[place] = next((step for step in thaws if before < step <= measured), measured)
    return found
