"""Loss against cost: curves whose answer is known by hand, and intervals against scipy's."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from frostline.stats.crossed import OVER_BOTH, crossed_interval
from frostline.stats.pairs import Pairs, pairs_of
from frostline.stats.runs import VariantRun, read_run
from frostline.stats.trade import (
    Curve,
    at_equal_cost,
    crossed_ratio,
    over_flops,
    over_seconds,
    over_seeds,
    ratio_of_means,
    seconds_spent,
    seconds_to_loss,
    share_of_gain_kept,
    widest_gap,
)
from tests.builders.simulated_run import write_simulated_run


def curve(costs: list[float], losses: list[float]) -> Curve:
    return Curve(np.array(costs, dtype=np.float64), np.array(losses, dtype=np.float64))


def simulated(folder: Path, seeds: int = 4, arms: tuple[str, ...] = ("full", "freeze")) -> VariantRun:
    run = write_simulated_run(
        folder / "run",
        seeds=tuple(range(seeds)),
        with_watch=False,
        with_sampling=False,
        with_retention=False,
        arms=arms,
    )
    return read_run(run).variants[0]


def evaluated(pairs: Pairs, arm: dict[int, float], baseline: dict[int, float], seconds: tuple[float, float]) -> Pairs:
    """`pairs` with other evaluations and, throughout, so many seconds a step of arm and baseline."""
    return replace(
        pairs,
        pairs=tuple(
            replace(
                pair,
                arm=replace(pair.arm, held_out=arm, seconds=np.full(len(pair.arm.seconds), seconds[0])),
                baseline=replace(pair.baseline, held_out=baseline, seconds=np.full(len(pair.arm.seconds), seconds[1])),
            )
            for pair in pairs.pairs
        ),
    )


def test_an_untimed_step_counts_as_much_as_a_timed_one_on_average() -> None:
    spent = seconds_spent([9.0, 9.0, 1.0, 3.0], [False, False, True, True])
    assert spent.tolist() == [0.0, 2.0, 4.0, 5.0, 8.0]
    assert math.isnan(seconds_spent([9.0], [False])[-1])


def test_a_straight_curve_is_read_off_where_a_ruler_would() -> None:
    straight = curve([0, 10, 20], [4.0, 3.0, 2.0])
    assert straight.at(5) == pytest.approx(3.5)
    assert straight.first_at(2.4) == pytest.approx(16.0)
    assert [straight.around(place) for place in (15, 10, 0)] == [(3.0, 2.0), (3.0, 3.0), (4.0, 4.0)]


def test_a_curve_is_never_read_off_beyond_its_end() -> None:
    short = curve([0, 10, 20], [4.0, 3.0, 2.0])
    assert math.isnan(short.at(20.1))
    assert math.isnan(short.first_at(1.9))
    assert math.isnan(curve([], []).last)


def test_what_is_read_off_lies_between_its_evaluations_and_nearer_to_a_bent_curve_than_a_chord() -> None:
    costs = np.arange(0.0, 41.0, 10.0)
    bent = Curve(costs, 2 + 2 * np.exp(-costs / 12))
    places = np.linspace(1, 39, 77)
    truth = 2 + 2 * np.exp(-places / 12)
    found = np.array([bent.at(place) for place in places])
    chords = np.interp(places, costs, bent.losses)
    ends = np.array([bent.around(place) for place in places])
    assert ((found <= ends[:, 0]) & (found >= ends[:, 1])).all()
    assert np.abs(found - truth).mean() < 0.5 * np.abs(chords - truth).mean()


def test_a_loss_is_reached_when_the_curve_first_passes_it() -> None:
    wavy = curve([0, 10, 20, 30], [4.0, 2.0, 3.0, 1.0])
    assert 0 < wavy.first_at(3.0) < 10
    assert wavy.first_at(2.0) == pytest.approx(10.0)
    assert wavy.first_at(5.0) == 0.0
    assert wavy.at(wavy.first_at(1.7)) == pytest.approx(1.7)


def test_arms_are_compared_in_the_time_of_the_one_that_took_less(tmp_path: Path) -> None:
    pairs = pairs_of(simulated(tmp_path), "freeze")
    straight = evaluated(pairs, {0: 4.0, 20: 3.5, 40: 3.0}, {0: 4.0, 20: 3.0, 40: 2.0}, (0.5, 2.0))
    found = at_equal_cost(straight, "seconds", over_seconds)
    assert found is not None
    # 40 steps of half a second; full has done 10 of its steps by then, a quarter of the way from 4 to 2.
    assert found.shorter == "freeze"
    assert (found.cost, found.loss) == pytest.approx((20.0, 3.0))
    assert found.baseline_loss == pytest.approx(3.5)
    assert found.difference.value == pytest.approx(-0.5)
    assert (found.least, found.most) == pytest.approx((-1.0, 0.0))
    assert found.by_seed == pytest.approx([-0.5] * 4)


def test_where_the_baseline_took_less_its_time_is_the_measure(tmp_path: Path) -> None:
    pairs = pairs_of(simulated(tmp_path), "freeze")
    found = at_equal_cost(
        evaluated(pairs, {0: 4.0, 20: 3.0, 40: 2.0}, {0: 4.0, 20: 3.5, 40: 3.0}, (2.0, 0.5)), "seconds", over_seconds
    )
    assert found is not None
    assert found.shorter == "full"
    assert (found.loss, found.baseline_loss) == pytest.approx((3.5, 3.0))
    assert (found.difference.value, found.least, found.most) == pytest.approx((0.5, 0.0, 1.0))


def test_a_curve_with_two_evaluations_alone_is_not_read_off(tmp_path: Path) -> None:
    pairs = pairs_of(simulated(tmp_path), "freeze")
    seldom = evaluated(pairs, {0: 4.0, 40: 3.0}, {0: 4.0, 40: 2.0}, (0.5, 2.0))
    assert at_equal_cost(seldom, "seconds", over_seconds) is None
    assert seconds_to_loss(seldom) is None


def test_operations_are_those_of_a_step_by_analysis_and_unknown_where_the_plan_changes(tmp_path: Path) -> None:
    (run, *_) = simulated(tmp_path).of("full")
    assert over_flops(run).costs == pytest.approx(2.1e11 * np.array([0, 10, 20, 30, 40]))
    changed = replace(run, plan_changes=(object(),))  # type: ignore[arg-type]
    assert not len(over_flops(changed).costs)


def test_the_time_to_a_loss_is_that_to_the_worse_of_the_two_last_ones(tmp_path: Path) -> None:
    pairs = pairs_of(simulated(tmp_path), "freeze")
    found = seconds_to_loss(evaluated(pairs, {0: 4.0, 20: 3.5, 40: 3.0}, {0: 4.0, 20: 3.0, 40: 2.0}, (0.5, 2.0)))
    assert found is not None
    assert (found.loss, found.seconds, found.baseline_seconds) == pytest.approx((3.0, 20.0, 40.0))
    assert found.difference.value == pytest.approx(-20.0)


def test_the_share_kept_is_the_ratio_of_gains_with_fiellers_interval() -> None:
    generator = np.random.default_rng(3)
    below = 1.0 + 0.05 * generator.standard_normal(8)
    above = 0.4 * below + 0.02 * generator.standard_normal(8)
    found = ratio_of_means(above, below, "share")
    assert found.value == pytest.approx(above.mean() / below.mean())
    assert found.low is not None
    assert found.high is not None
    for end in (found.low, found.high):  # Fieller: the ratios that a paired t test does not reject
        p = stats.ttest_1samp(above - end * below, 0).pvalue
        assert p == pytest.approx(0.05, abs=1e-6)


def test_fiellers_interval_covers_at_its_level() -> None:
    generator = np.random.default_rng(5)
    hits = 0
    for _ in range(600):
        below = 0.3 + 0.05 * generator.standard_normal(5)
        found = ratio_of_means(0.4 * below + 0.02 * generator.standard_normal(5), below, "share")
        hits += found.low is not None and found.high is not None and found.low <= 0.4 <= found.high
    assert 0.925 <= hits / 600 <= 0.975


def test_a_ratio_to_what_is_not_told_from_zero_has_no_bounds() -> None:
    found = ratio_of_means(np.array([1.0, 1.1, 0.9, 1.0]), np.array([0.5, -0.4, 0.3, -0.3]), "share")
    assert (found.low, found.high) == (None, None)
    assert "unbounded" in found.method


def test_a_baseline_that_gained_nothing_leaves_no_share_of_its_gain(tmp_path: Path) -> None:
    pairs = pairs_of(simulated(tmp_path), "freeze")
    assert share_of_gain_kept(evaluated(pairs, {0: 4.0, 40: 3.0}, {0: 4.0, 40: 4.5}, (1.0, 1.0))).value is None
    kept = share_of_gain_kept(evaluated(pairs, {0: 4.0, 40: 3.5}, {0: 4.0, 40: 3.0}, (1.0, 1.0)))
    assert (kept.value, kept.low, kept.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(("count", "has_interval"), [(1, False), (2, False), (3, False), (4, True)])
def test_few_seeds_have_no_t_interval(count: int, has_interval: bool) -> None:
    values = np.arange(1.0, count + 1)
    found = over_seeds(values, "nats")
    assert found.value == values.mean()
    assert (found.low is not None) == has_interval
    if has_interval:
        ends = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=stats.sem(values))
        assert (found.low, found.high) == pytest.approx(ends)


def test_the_widest_gap_is_the_largest_mean_difference_with_the_reach_of_a_simultaneous_band(tmp_path: Path) -> None:
    pairs = pairs_of(simulated(tmp_path, seeds=5), "freeze")
    found = widest_gap(pairs)
    table = np.array(
        [[pair.arm.held_out[step] - pair.baseline.held_out[step] for step in (10, 20, 30, 40)] for pair in pairs.pairs]
    )
    half = stats.t.ppf(1 - 0.05 / 8, 4) * stats.sem(table, axis=0)
    assert found.value == pytest.approx(np.abs(table.mean(axis=0)).max())
    assert found.high == pytest.approx((np.abs(table.mean(axis=0)) + half).max())


def test_the_same_arm_twice_is_nowhere_apart(tmp_path: Path) -> None:
    variant = simulated(tmp_path, arms=("full", "again"))
    found = widest_gap(pairs_of(variant, "again"))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    kept = share_of_gain_kept(pairs_of(variant, "again"))
    assert (kept.value, kept.low, kept.high) == pytest.approx((1.0, 1.0, 1.0))


@pytest.mark.parametrize("side", ["arm", "baseline"])
def test_an_arm_whose_plan_changes_is_not_compared_at_equal_operations(side: str, tmp_path: Path) -> None:
    pairs = pairs_of(simulated(tmp_path), "freeze")
    changed = [replace(pair, **{side: replace(getattr(pair, side), plan_changes=(object(),))}) for pair in pairs.pairs]
    assert at_equal_cost(pairs, "flops", over_flops) is not None
    assert at_equal_cost(replace(pairs, pairs=tuple(changed)), "flops", over_flops) is None


def with_windows(pairs: Pairs, apart: np.ndarray, steps: tuple[int, ...] = (0, 20, 40)) -> Pairs:
    """`pairs` whose arm ends `apart` [seeds, windows] above the baseline, each evaluated window by window."""
    tokens = np.array([10.0, 20.0, 30.0, 40.0, 0.0])
    base = np.array([[4.0, 4.2, 4.4, 4.6, np.nan], [3.4, 3.6, 3.8, 4.0, np.nan], [3.0, 3.2, 3.4, 3.6, np.nan]])
    made = []
    for pair, own in zip(pairs.pairs, apart, strict=True):
        tables = base + np.array([[0.0], [0.5], [1.0]]) * own, base
        arm, baseline = (
            replace(
                run,
                seconds=np.ones(len(run.seconds)),
                held_out_windows=dict(zip(steps, table, strict=True)),
                held_out={step: float(row[:4] @ tokens[:4] / 100) for step, row in zip(steps, table, strict=True)},
                window_predictions=tokens,
            )
            for run, table in zip((pair.arm, pair.baseline), tables, strict=True)
        )
        made.append(replace(pair, arm=arm, baseline=baseline))
    return replace(pairs, pairs=tuple(made))


def test_at_equal_time_the_interval_is_over_seeds_and_windows_where_these_were_recorded(tmp_path: Path) -> None:
    generator = np.random.default_rng(7)
    apart = 0.2 + 0.1 * generator.standard_normal(5) + 0.01 * generator.standard_normal((4, 5))
    found = at_equal_cost(with_windows(pairs_of(simulated(tmp_path), "freeze"), apart), "seconds", over_seconds)
    expected = crossed_interval(apart, [10, 20, 30, 40, 0], "nats")
    assert found is not None
    assert expected is not None
    assert (found.difference.low, found.difference.high) == pytest.approx((expected.low, expected.high))
    assert found.difference.method == OVER_BOTH
    alone = over_seeds(found.by_seed, "nats")
    assert found.difference.low is not None
    assert alone.low is not None
    assert found.difference.value == pytest.approx(alone.value)
    assert found.difference.low < alone.low - 0.05, "windows differ far more than seeds here"


def test_few_seeds_stay_as_they_are_with_windows_too(tmp_path: Path) -> None:
    pairs = pairs_of(simulated(tmp_path, seeds=3), "freeze")
    found = at_equal_cost(with_windows(pairs, np.full((3, 5), 0.1)), "seconds", over_seconds)
    assert found is not None
    assert found.difference.low is None
    kept = share_of_gain_kept(with_windows(pairs, np.full((3, 5), 0.1)))
    assert kept.value == pytest.approx(0.9)
    assert kept.low is None


def test_the_widest_gap_has_a_band_over_both(tmp_path: Path) -> None:
    generator = np.random.default_rng(8)
    apart = 0.3 + 0.1 * generator.standard_normal((4, 5))
    found = widest_gap(with_windows(pairs_of(simulated(tmp_path), "freeze"), apart))
    ends = [crossed_interval(share * apart, [10, 20, 30, 40, 0], "nats", 1 - 0.05 / 2) for share in (0.5, 1.0)]
    assert found.high == pytest.approx(max(abs(end.high or 0.0) for end in ends if end is not None))
    assert OVER_BOTH in found.method


def test_without_differences_between_windows_the_crossed_ratio_is_fiellers() -> None:
    generator = np.random.default_rng(9)
    below = 1.0 + 0.05 * generator.standard_normal(8)
    above = 0.4 * below + 0.02 * generator.standard_normal(8)
    expected = ratio_of_means(above, below, "share")
    rows, others = (np.repeat(values[:, None], 6, axis=1) for values in (above, below))
    found = crossed_ratio(rows, others, np.ones(6), "share")
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_a_crossed_ratio_covers_other_windows_too() -> None:
    generator = np.random.default_rng(10)
    hits = 0
    for _ in range(150):
        below = 0.3 + 0.03 * generator.standard_normal((5, 1)) + 0.1 * generator.standard_normal(12)
        above = 0.4 * below + 0.02 * generator.standard_normal(12) + 0.02 * generator.standard_normal((5, 12))
        found = crossed_ratio(above, below, np.ones(12), "share")
        hits += found.low is not None and found.high is not None and found.low <= 0.4 <= found.high
    assert hits / 150 > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 150)


def test_a_crossed_ratio_to_what_is_not_told_from_zero_has_no_bounds() -> None:
    below = np.random.default_rng(11).standard_normal((4, 6))
    found = crossed_ratio(np.ones((4, 6)), below + 0.1, np.ones(6), "share")
    assert (found.low, found.high) == (None, None)
    assert "unbounded" in found.method


def test_before_its_first_step_an_arm_that_waits_for_its_fill_is_as_it_begins() -> None:
    waited = curve([4.0, 6.0, 8.0], [3.0, 2.0, 1.5])
    assert waited.at(0.0) == waited.at(3.9) == waited.at(4.0) == 3.0
    assert waited.around(2.0) == (3.0, 3.0)
    assert waited.at(5.0) == pytest.approx(curve([0.0, 2.0, 4.0], [3.0, 2.0, 1.5]).at(1.0))
    assert math.isnan(waited.at(8.1))


def test_the_seconds_of_a_fill_come_before_the_first_step(tmp_path: Path) -> None:
    run = next(iter(simulated(tmp_path).runs.values()))
    filled = over_seconds(replace(run, fill_seconds=7.0))
    assert np.allclose(filled.costs, over_seconds(run).costs + 7.0)
