"""Intervals against scipy, numpy and hand-written resampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from frostline.stats.intervals import (
    MINIMUM_BLOCKS,
    OVER_BLOCKS,
    OVER_REPLICATES,
    autocorrelation,
    block_length,
    bootstrap,
    bootstrap_mean,
    bootstrap_slope,
    ratio,
    slope,
    t_interval,
)
from tests.builders.simulated_truth import autoregressive


def test_the_t_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(0).normal(2.0, 0.3, 5)
    found = t_interval(values, "nats")
    low, high = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high))
    assert (found.n, found.unit, found.method) == (5, "nats", OVER_REPLICATES)


def test_one_replicate_has_a_value_and_no_interval() -> None:
    found = t_interval([2.5], "nats")
    assert (found.value, found.low, found.high, found.n) == (2.5, None, None, 1)


def test_nothing_measured_has_no_value() -> None:
    assert t_interval([], "nats").value is None
    assert t_interval([math.nan, math.inf], "nats").n == 0


def test_values_that_are_not_finite_are_left_out() -> None:
    assert t_interval([1.0, math.nan, 3.0], "nats") == t_interval([1.0, 3.0], "nats")


def test_equal_values_have_an_interval_of_width_zero() -> None:
    found = t_interval([0.1, 0.1, 0.1], "nats")
    assert (found.value, found.low, found.high) == (0.1, 0.1, 0.1)
    found = t_interval([0.0, 0.0], "nats")
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_blocks_of_one_give_the_t_interval_of_independent_values() -> None:
    values = np.random.default_rng(1).normal(1.0, 1.0, 30)
    found = bootstrap([values], lambda totals: totals[:, 0] / 30, length=1)
    low, high = stats.t.interval(0.95, 29, loc=values.mean(), scale=stats.sem(values))
    assert found.interval() == pytest.approx((low, high), rel=0.03)


def test_the_standard_error_is_that_of_resampling_blocks_by_hand() -> None:
    generator = np.random.default_rng(2)
    table = np.column_stack([autoregressive(generator, 60, 1.0, 0.5) + 5, np.ones(60) * 2])
    found = bootstrap([table], ratio, length=6)
    by_hand = []
    for _ in range(3000):
        starts = generator.integers(0, 60 - 6 + 1, size=10)
        rows = np.concatenate([table[start : start + 6] for start in starts])
        by_hand.append(rows[:, 0].sum() / rows[:, 1].sum())
    assert found.value == pytest.approx(table[:, 0].sum() / 120)
    assert found.draws.std() == pytest.approx(np.std(by_hand), rel=0.06)
    assert (found.blocks, found.degrees) == (10, 9)


def test_replicates_are_resampled_apart_from_each_other() -> None:
    """Strata far apart from each other add nothing to the error."""
    generator = np.random.default_rng(3)
    near, far = generator.normal(0, 1, 40), generator.normal(0, 1, 40)
    together = bootstrap_mean([near, far])
    apart = bootstrap_mean([near, far + 1000])
    assert apart.error == pytest.approx(together.error, rel=0.15)


def test_the_same_data_give_the_same_interval_bit_for_bit() -> None:
    values = np.random.default_rng(4).normal(0, 1, 50)
    assert bootstrap_mean([values]).interval() == bootstrap_mean([values.copy()]).interval()
    assert bootstrap_mean([values]).interval() != bootstrap_mean([values[::-1].copy()]).interval()


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.7])
def test_a_constant_series_has_an_interval_of_width_zero(constant: float) -> None:
    found = bootstrap_mean([np.full(40, constant)]).estimate("nats", OVER_BLOCKS)
    assert (found.value, found.low, found.high) == (constant, constant, constant)


def test_a_short_series_has_a_value_and_no_interval() -> None:
    found = bootstrap_mean([np.arange(8.0)]).estimate("nats", OVER_BLOCKS)
    assert (found.value, found.low, found.high) == (3.5, None, None)
    assert found.n < MINIMUM_BLOCKS
    assert bootstrap_mean([np.arange(8.0)]).p_value() is None


def test_an_empty_series_has_no_value() -> None:
    assert bootstrap_mean([]).estimate("nats", OVER_BLOCKS).value is None
    assert bootstrap_slope([np.empty(0)]).estimate("nats", OVER_BLOCKS).value is None


def test_a_value_that_is_not_finite_leaves_no_estimate() -> None:
    assert bootstrap_mean([np.array([1.0, math.nan] * 20)]).estimate("nats", OVER_BLOCKS).value is None


def test_an_interval_does_not_pass_what_the_quantity_can_be() -> None:
    found = bootstrap_mean([np.array([1.0] * 35 + [0.0] * 5)]).estimate("share", OVER_BLOCKS, (0.0, 1.0))
    assert found.high == 1.0


def test_the_slope_is_that_of_a_least_squares_line() -> None:
    values = np.random.default_rng(5).normal(0, 1, 30) + 0.2 * np.arange(30)
    fitted = np.polyfit(np.arange(30), values, 1)[0]
    assert slope(values) == pytest.approx(fitted)
    assert bootstrap_slope([values]).value == pytest.approx(fitted)


def test_the_error_of_a_slope_is_that_of_regression_for_independent_noise() -> None:
    values = np.random.default_rng(6).normal(0, 1, 400) + 0.01 * np.arange(400)
    assert bootstrap_slope([values]).error == pytest.approx(stats.linregress(np.arange(400), values).stderr, rel=0.2)


def test_autocorrelation_is_that_of_the_series() -> None:
    series = autoregressive(np.random.default_rng(7), 20_000, 1.0, 0.6)
    assert autocorrelation([series]) == pytest.approx(0.6, abs=0.03)
    assert autocorrelation([np.ones(10)]) == 0.0


@pytest.mark.parametrize("steps", [12, 40, 100, 1000])
def test_blocks_grow_with_autocorrelation_and_leave_six_of_them(steps: int) -> None:
    generator = np.random.default_rng(8)
    weak = block_length([autoregressive(generator, steps, 1.0, 0.0)])
    strong = block_length([autoregressive(generator, steps, 1.0, 0.8)])
    assert 2 <= weak <= strong <= max(2, steps // MINIMUM_BLOCKS)


def test_blocks_that_all_agree_have_the_p_of_their_coins() -> None:
    found = bootstrap_mean([np.ones(24)])
    assert found.p_value(0.5) == 2.0 ** (1 - found.blocks)
    assert found.p_value(1.0) == 1.0
