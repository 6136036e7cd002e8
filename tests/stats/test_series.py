"""The mean of steps that are alike: sure of what is large, silent on what is small, and never surer than it may be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from frostline.stats.series import AT_LIMIT, LARGEST_PHI, OVER_STEPS, error_at_limit, mean_test, phi_of
from frostline.stats.significance import ALPHA, skewness
from tests.builders.simulated_truth import autoregressive


def short(seed: int, mean: float, *, runs: int = 2, steps: int = 13, phi: float = 0.0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [mean + 0.08 * autoregressive(generator, steps, 1.0, phi) for _ in range(runs)]


@pytest.mark.parametrize(("mean", "decided"), [(0.65, True), (0.03, False)])
def test_a_short_run_of_steps_that_are_alike_decides_what_is_large_alone(mean: float, decided: bool) -> None:
    found = [mean_test(short(seed, mean, phi=0.6)) for seed in range(20)]
    few = [one for one in found if not one.enough]
    assert len(few) > 10
    below = np.mean([p is not None and p < ALPHA for p in (one.p_value() for one in few)])
    assert below >= 0.8 if decided else below <= 0.1
    assert {one.estimate("nats").method for one in few} == {f"{AT_LIMIT}, in these runs"}


@pytest.mark.parametrize(
    ("runs", "steps", "phi"), [(1, 20, 0.9), (1, 20, 0.6), (3, 20, 0.9), (2, 13, 0.6), (1, 60, 0.9)]
)
def test_the_interval_is_always_given_and_holds_however_alike_the_steps_are(runs: int, steps: int, phi: float) -> None:
    held = []
    for seed in range(150):
        low, high = mean_test(short(seed, 0.0, runs=runs, steps=steps, phi=phi)).interval()
        held.append(low <= 0 <= high)
    assert np.mean(held) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / len(held))


def test_the_error_at_the_limit_is_that_of_the_mean_of_such_a_series() -> None:
    """Against the covariance matrix of an AR(1) series, written out."""
    values = [np.random.default_rng(0).standard_normal(20)]
    phi, error = phi_of(values)
    limit = min(phi + 2 * error, LARGEST_PHI)
    covariance = limit ** np.abs(np.subtract.outer(np.arange(20), np.arange(20)))
    of_mean = covariance.mean()
    about_it = np.trace(covariance - covariance.mean(axis=0)[:, None] - covariance.mean(axis=0) + of_mean) / 20
    expected = math.sqrt(of_mean / about_it) * float(np.std(values[0]))
    assert error_at_limit(values, (phi, error)) == pytest.approx(expected)


def test_skew_counts_at_the_null_that_is_tested() -> None:
    """The guard against skew turns with the null: far above it, a long tail upwards makes the p larger."""
    values = np.random.default_rng(3).exponential(size=120)
    found = mean_test([values])
    assert found.enough
    assert OVER_STEPS in found.estimate("nats").method
    ratio = (found.value - 1.3) / (found.error * math.sqrt(found.units))
    skewed = skewness(values)
    turned = ratio + skewed * ratio**2 / 3 + skewed**2 * ratio**3 / 27 + skewed / (6 * found.units)
    hall = 2 * stats.t.sf(abs(math.sqrt(found.units) * turned), found.degrees)
    student = 2 * stats.t.sf(abs(found.value - 1.3) / found.error, found.degrees)
    assert found.p_value(1.3) == pytest.approx(max(hall, student))


def test_steps_that_never_change_say_nothing_when_they_are_few() -> None:
    found = mean_test([np.full(9, 0.5)])
    assert (found.value, found.speaks, found.p_value()) == (0.5, False, None)
    assert found.estimate("nats").low is None
