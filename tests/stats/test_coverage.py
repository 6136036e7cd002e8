"""Do intervals cover, and tests err, at the rates they state? Simulations with known truth and fixed seeds.

A rate over n simulations has a standard error of sqrt(rate (1 - rate) / n); bounds below allow for three of them, and
for the bootstrap's known shortfall in short autocorrelated series, which docs/claims.md states.
"""

from __future__ import annotations

import numpy as np
import pytest

from frostline.stats.intervals import bootstrap, bootstrap_mean, bootstrap_slope, ratio, t_interval
from frostline.stats.significance import equivalence_p, holm, sign_flip_p
from tests.builders.simulated_truth import autoregressive

SIMULATIONS = 400


def test_the_t_interval_over_replicates_covers_the_truth() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(SIMULATIONS):
        found = t_interval(generator.normal(0.3, 1.0, 4), "nats")
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.3 <= found.high
    assert 0.915 <= hits / SIMULATIONS <= 0.985


@pytest.mark.parametrize(
    ("steps", "phi", "lowest"),
    [(40, 0.0, 0.91), (40, 0.3, 0.9), (100, 0.3, 0.89), (100, 0.6, 0.85), (400, 0.6, 0.88), (20, 0.6, 0.75)],
)
def test_the_block_bootstrap_of_a_mean_covers_the_truth(steps: int, phi: float, lowest: float) -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(SIMULATIONS):
        low, high = bootstrap_mean([0.2 + autoregressive(generator, steps, 1.0, phi)]).interval()
        hits += low <= 0.2 <= high
    assert lowest <= hits / SIMULATIONS <= 0.98


def test_the_block_bootstrap_over_several_replicates_covers_the_truth() -> None:
    generator = np.random.default_rng(2)
    hits = 0
    for _ in range(SIMULATIONS):
        low, high = bootstrap_mean([autoregressive(generator, 40, 1.0, 0.3) for _ in range(3)]).interval()
        hits += low <= 0 <= high
    assert 0.88 <= hits / SIMULATIONS <= 0.98


def test_the_block_bootstrap_of_the_saving_covers_the_truth() -> None:
    """Two arms whose times drift together, and each on its own."""
    generator = np.random.default_rng(3)
    hits = 0
    for _ in range(SIMULATIONS):
        drift = 1 + 0.1 * autoregressive(generator, 60, 1.0, 0.9)
        full = 1.4 * drift * (1 + 0.05 * autoregressive(generator, 60, 1.0, 0.3))
        frozen = 0.7 * drift * (1 + 0.05 * autoregressive(generator, 60, 1.0, 0.3))
        found = bootstrap([np.column_stack([frozen, full])], lambda totals: 1 - ratio(totals))
        low, high = found.interval()
        hits += low <= 0.5 <= high
    assert 0.88 <= hits / SIMULATIONS <= 0.98


def test_the_block_bootstrap_of_a_slope_covers_the_truth() -> None:
    generator = np.random.default_rng(4)
    hits = 0
    for _ in range(SIMULATIONS):
        values = 0.02 * np.arange(100) + autoregressive(generator, 100, 1.0, 0.3)
        low, high = bootstrap_slope([values]).interval()
        hits += low <= 0.02 <= high
    assert 0.87 <= hits / SIMULATIONS <= 0.98


def test_steps_treated_as_independent_would_not_cover() -> None:
    """What the blocks are for: without them the interval is far too narrow."""
    generator = np.random.default_rng(5)
    hits = 0
    for _ in range(SIMULATIONS):
        values = autoregressive(generator, 100, 1.0, 0.6)
        low, high = bootstrap([values], lambda totals: totals[:, 0] / 100, length=1).interval()
        hits += low <= 0 <= high
    assert hits / SIMULATIONS < 0.75


@pytest.mark.parametrize("replicates", [6, 8])
def test_the_sign_flip_test_errs_at_most_at_its_rate(replicates: int) -> None:
    generator = np.random.default_rng(6)
    trials = 2000
    errors = 0
    for _ in range(trials):
        p = sign_flip_p(generator.standard_t(3, replicates))
        assert p is not None
        errors += p < 0.05
    assert errors / trials <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)
    assert errors > 0


def test_the_sign_flip_test_finds_a_large_effect() -> None:
    generator = np.random.default_rng(7)
    p_values = [sign_flip_p(generator.normal(2.0, 1.0, 8)) for _ in range(200)]
    assert np.mean([p is not None and p < 0.05 for p in p_values]) > 0.95


def test_equivalence_is_claimed_at_most_at_its_rate_on_the_margin() -> None:
    generator = np.random.default_rng(8)
    trials = 2000
    errors = 0
    for _ in range(trials):
        p = equivalence_p(generator.normal(0.05, 0.02, 6), 0.05)
        assert p is not None
        errors += p < 0.05
    assert errors / trials <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)
    assert errors > 0


def test_holm_keeps_the_rate_over_a_family_of_arms() -> None:
    """Three arms compared with one baseline, no effect in any."""
    generator = np.random.default_rng(9)
    trials = 1000
    errors = 0
    uncorrected = 0
    for _ in range(trials):
        baseline = generator.normal(0, 1, 9)
        p_values = [sign_flip_p(generator.normal(0, 1, 9) - baseline) for _ in range(3)]
        errors += any(p is not None and p < 0.05 for p in holm(p_values))
        uncorrected += any(p is not None and p < 0.05 for p in p_values)
    assert errors / trials <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)
    assert uncorrected > errors
