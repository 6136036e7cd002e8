"""Does the interval over seeds and windows hold as often as it says, whichever of the two varies more?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from frostline.stats.crossed import OVER_BOTH, OVER_WINDOWS, POPULATION, crossed_interval, held_out_crossed
from frostline.stats.intervals import t_interval
from frostline.stats.pairs import Pairs, pairs_of
from frostline.stats.runs import read_run
from tests.builders.simulated_run import write_simulated_run

RUNS = 200


@pytest.mark.parametrize("seeds", [2, 7])
@pytest.mark.parametrize("windows", [16])
@pytest.mark.parametrize(("of_seeds", "of_windows", "of_both"), [(1, 0, 1), (0, 1, 1), (0.25, 1, 1), (0.1, 1, 0.3)])
def test_it_holds_the_truth_in_95_of_100_runs_whichever_varies(
    seeds: int, windows: int, of_seeds: float, of_windows: float, of_both: float
) -> None:
    generator = np.random.default_rng([seeds, windows])
    held = 0
    for _ in range(RUNS):
        values = of_seeds * generator.standard_normal((seeds, 1)) + of_windows * generator.standard_normal(windows)
        values = values + of_both * generator.standard_normal((seeds, windows))
        found = crossed_interval(values, np.ones(windows), "nats")
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0 <= found.high
    assert held / RUNS > 0.95 - 3 * np.sqrt(0.95 * 0.05 / RUNS)


def test_an_interval_over_seeds_alone_misses_other_windows_of_the_text() -> None:
    generator = np.random.default_rng(0)
    values = generator.standard_normal((RUNS, 1, 16)) + generator.standard_normal((RUNS, 5, 16))
    means = values.mean(axis=2)
    half = stats.t.ppf(0.975, 4) * means.std(axis=1, ddof=1) / np.sqrt(5)
    assert np.mean(np.abs(means.mean(axis=1)) <= half) < 0.8


def test_the_mean_weighs_windows_by_their_tokens_and_seeds_alike() -> None:
    generator = np.random.default_rng(1)
    values, tokens = generator.standard_normal((3, 5)), np.array([10, 20, 30, 40, 0])
    found = crossed_interval(values, tokens, "nats")
    assert found is not None
    assert found.value == pytest.approx(np.mean([row[:4] @ tokens[:4] / 100 for row in values]))
    assert (found.n, found.method, POPULATION[found.method]) == (
        3,
        OVER_BOTH,
        "other seeds and other windows of this text",
    )


def test_it_is_never_narrower_than_the_interval_over_seeds() -> None:
    generator = np.random.default_rng(2)
    for _ in range(50):
        values = generator.standard_normal((3, 1)) + 0.1 * generator.standard_normal((3, 8))
        both, seeds = crossed_interval(values, np.ones(8), "nats"), t_interval(values.mean(axis=1), "nats")
        assert both is not None
        assert both.low is not None
        assert both.high is not None
        assert seeds.low is not None
        assert seeds.high is not None
        assert both.low <= seeds.low + 1e-12
        assert both.high >= seeds.high - 1e-12


def test_one_replicate_has_an_interval_over_windows_that_says_so() -> None:
    values = np.array([[0.1, 0.3, -0.2, 0.4]])
    found = crossed_interval(values, np.ones(4), "nats")
    assert found is not None
    assert found.low is not None
    low, _ = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values[0]))
    assert found.method == OVER_WINDOWS
    assert found.low == pytest.approx(low)


def test_equal_arms_differ_by_exactly_nothing() -> None:
    found = crossed_interval(np.zeros((3, 4)), np.ones(4), "nats")
    assert found is not None
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("values", [np.full((2, 4), np.nan), np.zeros((3, 1)), np.zeros((0, 4))])
def test_it_is_none_where_nothing_can_be_said(values: np.ndarray) -> None:
    assert crossed_interval(values, np.ones(values.shape[1]), "nats") is None


def test_it_is_of_the_last_windows_of_each_pair_and_none_for_a_journal_without_them(tmp_path: Path) -> None:
    variant = read_run(write_simulated_run(tmp_path / "run")).variants[0]
    found = pairs_of(variant, "freeze")
    assert held_out_crossed(found) is None
    generator = np.random.default_rng(3)
    losses = generator.standard_normal((len(found.pairs), 2, 4))

    def with_windows(pairs: Pairs) -> Pairs:
        made = []
        for pair, (own, others) in zip(pairs.pairs, losses, strict=True):
            counts = np.full(4, 15.0)
            arm = replace(pair.arm, held_out_windows={0: others, 40: own}, window_predictions=counts)
            baseline = replace(pair.baseline, held_out_windows={0: own, 40: others}, window_predictions=counts)
            made.append(replace(pair, arm=arm, baseline=baseline))
        return replace(pairs, pairs=tuple(made))

    crossed = held_out_crossed(with_windows(found))
    assert crossed is not None
    assert crossed.value == pytest.approx((losses[:, 0] - losses[:, 1]).mean())
