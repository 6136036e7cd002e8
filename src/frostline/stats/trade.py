"""What does a loss cost? Held-out loss over seconds, operations, steps and epochs, and what one arm has at equal cost.

Per step an arm that trains less almost always loses; people pay in seconds. So arms are compared at the time of the
one that took less: its last evaluation there, the other's loss interpolated between two evaluations. A loss curve
bends, and a straight line between evaluations lies above it, to the disadvantage of the longer arm: a monotone cubic is
taken (Fritsch and Carlson 1980, *SIAM J. Numer. Anal.* 17:238), and the two evaluations around it bound the difference.

Few seeds are shown as they are: a t interval of two or three says more of Student than of the arms. More have an
interval over seeds and held-out windows (`crossed`) where the loss of each window was recorded, else over seeds alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq

from frostline.stats import scalars
from frostline.stats.arm_run import ArmRun
from frostline.stats.crossed import OVER_BOTH, crossed_interval
from frostline.stats.estimate import Estimate
from frostline.stats.intervals import LEVEL, nothing, t_interval
from frostline.stats.pairs import Pair, Pairs

Floats = NDArray[np.float64]
SEEDS_SHOWN = 3
"""Up to so many replicates stand as they are, without an interval."""
AS_THEY_ARE = "the seeds' own values, too few for an interval"


@dataclass(frozen=True)
class Curve:
    """Held-out loss over what it had cost by then, at each evaluation of one arm of one replicate."""

    costs: Floats
    """[evaluations], rising from 0."""
    losses: Floats
    """[evaluations], nats."""
    windows: Floats = field(default_factory=lambda: np.empty((0, 0)))
    """[evaluations, windows] losses of the single windows; empty where they were not recorded."""

    @property
    def last(self) -> float:
        """Cost of the last evaluation."""
        return float(self.costs[-1]) if len(self.costs) else math.nan

    def at(self, cost: float) -> float:
        """Loss at `cost`; NaN beyond the last evaluation."""
        if len(self.costs) < 2 or not 0 <= cost <= self.last:
            return math.nan
        return float(self._smooth(self._begun(cost)))

    def windows_at(self, cost: float) -> Floats:
        """[windows] loss of each at `cost`; NaN for one without, empty where they were not recorded."""
        known: NDArray[np.bool_] = np.asarray(np.isfinite(self.windows).all(axis=0))
        if not known.any() or len(self.costs) < 2 or not 0 <= cost <= self.last:
            return np.empty(0)
        found: Floats = np.full(len(known), math.nan)
        found[known] = PchipInterpolator(self.costs, self.windows[:, known])(self._begun(cost))
        return found

    def around(self, cost: float) -> tuple[float, float]:
        """Losses of the evaluations before and after `cost`; twice the same where `cost` is that of one."""
        cost = self._begun(cost)
        after = int(np.searchsorted(self.costs, cost))
        if after >= len(self.costs):
            return math.nan, math.nan
        before = after if self.costs[after] == cost else after - 1
        return float(self.losses[before]), float(self.losses[after])

    @cached_property
    def _smooth(self) -> PchipInterpolator:
        """The losses between evaluations: it is asked again and again."""
        return PchipInterpolator(self.costs, self.losses)

    def _begun(self, cost: float) -> float:
        """Until its first step, for which it may have to wait (`ArmRun.fill_seconds`), an arm is as it begins."""
        return max(cost, float(self.costs[0])) if len(self.costs) else cost

    def first_at(self, loss: float) -> float:
        """Cost at which the loss was first no higher than `loss`; NaN where it never was."""
        reached = np.flatnonzero(self.losses <= loss)
        if not len(reached):
            return math.nan
        first = int(reached[0])
        if first == 0:
            return float(self.costs[0])
        smooth = self._smooth
        low, high = float(self.costs[first - 1]), float(self.costs[first])
        for _ in range(60):  # it falls monotonically from one evaluation to the next
            middle = (low + high) / 2
            low, high = (low, middle) if smooth(middle) <= loss else (middle, high)
        return high


@dataclass(frozen=True)
class AtEqualCost:
    """An arm beside the baseline at a cost that both reached, read off between evaluations."""

    axis: str
    """`seconds` of the steps, untimed ones at the mean, or `flops` that the steps need by analysis."""
    shorter: str
    """The arm or the baseline, whichever cost less in all: what it cost is what both are compared at."""
    cost: float
    """The cost at which they are compared, mean over replicates."""
    loss: float
    """Held-out loss of the arm there, nats, mean over replicates."""
    baseline_loss: float
    """Held-out loss of the baseline there."""
    difference: Estimate
    """Arm minus baseline, paired; without an interval where there are three replicates or fewer."""
    least: float
    """The difference if the longer one's loss were that of the evaluation before or after, whichever is less."""
    most: float
    """The same, whichever is more: the truth lies between, if the loss goes from one to the other without a detour."""
    by_seed: list[float]
    """Difference of each replicate that has one, in the order of the seeds."""


@dataclass(frozen=True)
class ToLoss:
    """Time in which an arm and the baseline first reached a held-out loss that both reach."""

    loss: float
    """The worse of the two last held-out losses, nats, mean over replicates."""
    seconds: float
    """Seconds of steps until the arm was there, mean over replicates."""
    baseline_seconds: float
    """Until the baseline was."""
    difference: Estimate
    """Arm minus baseline, paired; without an interval where there are three replicates or fewer."""
    by_seed: list[float]
    """Difference of each replicate that has one, in the order of the seeds."""


def seconds_spent(seconds: ArrayLike, timed: ArrayLike) -> Floats:
    """Seconds after 0, 1, 2, ... steps, [steps + 1]; an untimed step counts as much as a timed one does on average."""
    taken, counts = np.asarray(seconds, dtype=np.float64), np.asarray(timed, dtype=np.bool_)
    mean = float(taken[counts].mean()) if counts.any() else math.nan
    return np.concatenate([[0.0], np.cumsum(np.where(counts, taken, mean))])


def training_seconds(run: ArmRun) -> float:
    """Seconds of all steps, untimed ones at the mean, and of what was filled for them."""
    return float(seconds_spent(run.seconds, run.timed)[-1]) + run.fill_seconds if run.timed.any() else math.nan


def over_seconds(run: ArmRun) -> Curve:
    """Held-out loss over the seconds of the steps before it, and of what was filled for them."""
    spent = seconds_spent(run.seconds, run.timed) + run.fill_seconds
    return _curve(run, lambda step: float(spent[step]) if step < len(spent) else math.nan)


def over_flops(run: ArmRun) -> Curve:
    """Held-out loss over the floating-point operations that the steps before it need by analysis.

    Those of a plan that changes on the way are not known, and its curve is empty.
    """
    return _curve(run, lambda step: math.nan if run.plan_changes else step * run.started.step_flops)


def at_equal_cost(pairs: Pairs, axis: str, curve_of: Callable[[ArmRun], Curve]) -> AtEqualCost | None:
    """Arm beside baseline at the cost of the one that cost less, in each replicate; None where that cannot be read.

    The longer curve needs an evaluation between its first and its last.
    """
    found = [one for pair in pairs.pairs if (one := _of_pair(pair, curve_of)) is not None]
    if not found:
        return None
    differences = [one.loss - one.baseline_loss for one in found]
    return AtEqualCost(
        axis=axis,
        shorter=pairs.arm if np.mean([one.arm_is_shorter for one in found]) >= 0.5 else pairs.baseline,
        cost=float(np.mean([one.cost for one in found])),
        loss=float(np.mean([one.loss for one in found])),
        baseline_loss=float(np.mean([one.baseline_loss for one in found])),
        difference=over_both(differences, [one.windows for one in found], found[0].predictions, "nats"),
        least=float(np.mean([one.least for one in found])),
        most=float(np.mean([one.most for one in found])),
        by_seed=differences,
    )


def seconds_to_loss(pairs: Pairs) -> ToLoss | None:
    """Time in which arm and baseline first reached the worse of their last held-out losses, in each replicate."""
    levels, own, others = [], [], []
    for pair in pairs.pairs:
        curves = over_seconds(pair.arm), over_seconds(pair.baseline)
        if any(len(curve.losses) < 3 for curve in curves):
            continue
        level = max(float(curve.losses[-1]) for curve in curves)
        reached = [curve.first_at(level) for curve in curves]
        if all(math.isfinite(seconds) for seconds in reached) and min(reached) > 0:
            levels.append(level)
            own.append(reached[0])
            others.append(reached[1])
    if not levels:
        return None
    differences = np.array(own) - np.array(others)
    return ToLoss(
        loss=float(np.mean(levels)),
        seconds=float(np.mean(own)),
        baseline_seconds=float(np.mean(others)),
        difference=over_seeds(differences, "seconds"),
        by_seed=[float(value) for value in differences],
    )


def gain(run: ArmRun) -> float:
    """Fall of the held-out loss from the start to the end, nats."""
    return scalars.held_out_before(run) - scalars.held_out_after(run)


def share_of_gain_kept(pairs: Pairs) -> Estimate:
    """The arm's gain over the baseline's, after all steps of each; nothing where the baseline gained nothing."""
    gains = np.array([(gain(pair.arm), gain(pair.baseline)) for pair in pairs.pairs], dtype=np.float64).reshape(-1, 2)
    kept: NDArray[np.bool_] = np.asarray(np.isfinite(gains).all(axis=1))
    known = gains[kept]
    if not len(known) or known[:, 1].mean() <= 0:
        return nothing("share")
    windows = [_gains_of_windows(pair) for pair, use in zip(pairs.pairs, kept, strict=True) if use]
    if len(known) <= SEEDS_SHOWN or not _alike([one for both in windows for one in both]):
        return ratio_of_means(known[:, 0], known[:, 1], "share")
    own, others = (np.array(rows) for rows in zip(*windows, strict=True))
    return crossed_ratio(own, others, pairs.pairs[0].arm.window_predictions, "share")


def widest_gap(pairs: Pairs) -> Estimate:
    """How far apart two held-out curves ever are: the largest mean difference over the evaluations after the first.

    The interval's upper end is the farthest that the simultaneous 95 % band of the paired curve reaches from zero
    (Bonferroni over evaluations), the lower end 0: curves coincide within any margin above it. The band is that over
    seeds and windows where windows were recorded.
    """
    steps = _common_steps(pairs)
    if not steps:
        return nothing("nats")
    table = np.array(
        [[pair.arm.held_out[step] - pair.baseline.held_out[step] for step in steps] for pair in pairs.pairs]
    )
    means, n = table.mean(axis=0), len(table)
    value = float(np.abs(means).max())
    if n <= SEEDS_SHOWN:
        return Estimate(value, None, None, n, "nats", AS_THEY_ARE)
    level = 1 - (1 - LEVEL) / len(steps)
    of_windows = [_windows_apart(pairs, step) for step in steps]
    weights = pairs.pairs[0].arm.window_predictions
    bands = [crossed_interval(np.array(one), weights, "nats", level) if _alike(one) else None for one in of_windows]
    halves = [_half_of(band) for band in bands if band is not None]
    if len(halves) == len(steps):
        high = float((np.abs(means) + halves).max())
        return Estimate(value, 0.0, high, n, "nats", f"simultaneous band, {OVER_BOTH}")
    reach = float(stats.t.ppf(0.5 + level / 2, n - 1)) / math.sqrt(n)
    high = float((np.abs(means) + reach * table.std(axis=0, ddof=1)).max())
    return Estimate(value, 0.0, high, n, "nats", "simultaneous t band over replicates")


def over_seeds(values: ArrayLike, unit: str) -> Estimate:
    """Mean over replicates with its t interval, or without where there are at most `SEEDS_SHOWN`."""
    found = t_interval(values, unit)
    if found.n > SEEDS_SHOWN or found.value is None:
        return found
    return Estimate(found.value, None, None, found.n, unit, AS_THEY_ARE)


def over_both(values: Sequence[float], windows: Sequence[Floats], weights: Floats, unit: str) -> Estimate:
    """Mean of `values`, one a replicate, with an interval over replicates and `windows`, [windows] values of each.

    As `over_seeds` where there are few replicates, or windows were not recorded. The interval is about the mean of
    `values`, from which that of the windows may differ a little: a curve through means is not the mean of curves.
    """
    found = over_seeds(values, unit)
    if found.n <= SEEDS_SHOWN or len(values) != found.n or not _alike(windows):
        return found
    crossed = crossed_interval(np.array(windows), weights, unit)
    if crossed is None or crossed.n != found.n or found.value is None:
        return found
    half = max(_half_of(crossed), _half_of(found))
    return Estimate(found.value, found.value - half, found.value + half, found.n, unit, OVER_BOTH)


def crossed_ratio(above: Floats, below: Floats, weights: Floats, unit: str) -> Estimate:
    """Mean of `above` over mean of `below` [seeds, windows], with Fieller's interval over seeds and windows.

    That holds the ratios r for which `above` - r `below` is not told from 0. None for its ends where `below` is not.
    """
    method = f"Fieller's interval, {OVER_BOTH}"
    n, middle = len(above), crossed_interval(below, weights, "")
    over = crossed_interval(above, weights, "")
    assert middle is not None
    assert over is not None
    value = (over.value or 0.0) / (middle.value or math.nan)

    def told(ratio: float) -> float:
        """Above 0 where the ratio can be told from the true one."""
        rest = crossed_interval(above - ratio * below, weights, "")
        assert rest is not None
        return abs(rest.value or 0.0) - _half_of(rest)

    if (middle.low or 0.0) <= 0:
        return Estimate(value, None, None, n, unit, f"{method}: unbounded")
    low, high = (_edge(told, value, side) for side in (-1, 1))
    if not (math.isfinite(low) and math.isfinite(high)):
        return Estimate(value, None, None, n, unit, f"{method}: unbounded")
    return Estimate(value, low, high, n, unit, method)


def _edge(told: Callable[[float], float], value: float, side: int) -> float:
    """Where `told` turns from below 0, as it is at `value`, to above, on that side; infinite where it never does."""
    if told(value) >= 0:
        return value
    reach = max(1e-6, 0.01 * abs(value))
    for _ in range(40):
        if told(value + side * reach) > 0:
            return float(brentq(lambda away: told(value + side * away), 0.0, reach, xtol=1e-12)) * side + value
        reach *= 2
    return math.inf


def ratio_of_means(above: Floats, below: Floats, unit: str) -> Estimate:
    """Mean of `above` over mean of `below`, paired, with Fieller's interval (1954, *JRSS B* 16:175).

    None for its ends where `below` is not told from 0, so that the ratio has no bounds.
    """
    n, value = len(above), float(above.mean() / below.mean())
    if n <= SEEDS_SHOWN:
        return Estimate(value, None, None, n, unit, AS_THEY_ARE)
    method = "Fieller's interval over replicates"
    covariance = np.cov(above, below) / n
    over, under, both = float(covariance[0, 0]), float(covariance[1, 1]), float(covariance[0, 1])
    t = float(stats.t.ppf(0.5 + LEVEL / 2, n - 1))
    unsure = t**2 * under / float(below.mean()) ** 2
    if unsure >= 1:
        return Estimate(value, None, None, n, unit, f"{method}: unbounded")
    rest = over - both**2 / under if under > 0 else over
    spread = max(0.0, over - 2 * value * both + value**2 * under - unsure * rest)
    centre = value - (unsure * both / under if under > 0 else 0.0)
    half = t / abs(float(below.mean())) * math.sqrt(spread)
    return Estimate(value, (centre - half) / (1 - unsure), (centre + half) / (1 - unsure), n, unit, method)


def _curve(run: ArmRun, cost_of: Callable[[int], float]) -> Curve:
    known = [
        (step, cost, loss)
        for step, loss in sorted(run.held_out.items())
        if math.isfinite(cost := cost_of(step)) and math.isfinite(loss)
    ]
    windows = [run.held_out_windows.get(step, np.empty(0)) for step, _, _ in known]
    table = np.array([(cost, loss) for _, cost, loss in known], dtype=np.float64).reshape(-1, 2)
    return Curve(table[:, 0], table[:, 1], np.array(windows) if _alike(windows) else np.empty((0, 0)))


@dataclass(frozen=True)
class _Beside:
    """A pair at equal cost."""

    cost: float
    loss: float
    baseline_loss: float
    least: float
    """The least that their difference can be."""
    most: float
    arm_is_shorter: bool
    windows: Floats
    """[windows] difference of each; empty where they were not recorded."""
    predictions: Floats
    """[windows] tokens that the loss counts in each."""


def _of_pair(pair: Pair, curve_of: Callable[[ArmRun], Curve]) -> _Beside | None:
    own, others = curve_of(pair.arm), curve_of(pair.baseline)
    if not len(own.costs) or not len(others.costs):
        return None
    arm_is_shorter = own.last <= others.last
    longer = others if arm_is_shorter else own
    cost = min(own.last, others.last)
    if not cost > 0 or (len(longer.costs) < 3 and longer.last != cost):
        return None
    before, after = longer.around(cost)
    if arm_is_shorter:
        ends = own.at(cost) - before, own.at(cost) - after
    else:
        ends = before - others.at(cost), after - others.at(cost)
    windows = own.windows_at(cost), others.windows_at(cost)
    return _Beside(
        cost,
        own.at(cost),
        others.at(cost),
        min(ends),
        max(ends),
        arm_is_shorter,
        windows[0] - windows[1] if _alike(windows) else np.empty(0),
        pair.arm.window_predictions,
    )


def _gains_of_windows(pair: Pair) -> tuple[Floats, Floats]:
    """[windows] fall of the loss of each, of the arm and of the baseline; empty where they were not recorded."""
    found = []
    for run in (pair.arm, pair.baseline):
        ends = [run.held_out_windows.get(step, np.empty(0)) for step in (0, max(run.held_out_windows, default=0))]
        found.append(ends[0] - ends[1] if len(run.held_out_windows) > 1 and _alike(ends) else np.empty(0))
    return found[0], found[1]


def _windows_apart(pairs: Pairs, step: int) -> list[Floats]:
    """[windows] arm minus baseline after `step` steps, in each replicate; empty where windows were not recorded."""
    found = []
    for pair in pairs.pairs:
        ends = [run.held_out_windows.get(step, np.empty(0)) for run in (pair.arm, pair.baseline)]
        found.append(ends[0] - ends[1] if _alike(ends) else np.empty(0))
    return found


def _alike(windows: Sequence[Floats]) -> bool:
    """Whether all are of the same windows, two or more."""
    sizes = {one.size for one in windows}
    return len(sizes) == 1 and max(sizes) > 1


def _half_of(found: Estimate) -> float:
    """Half the width of its interval; 0 where it has none."""
    return ((found.high or 0.0) - (found.low or 0.0)) / 2


def _common_steps(pairs: Pairs) -> list[int]:
    """Evaluations after training began that every replicate of both arms has."""
    evaluated: Sequence[set[int]] = [set(run.held_out) for pair in pairs.pairs for run in (pair.arm, pair.baseline)]
    return sorted(step for step in set.intersection(*evaluated) if step > 0) if evaluated else []
