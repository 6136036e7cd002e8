"""Tests over replicates against scipy and hand computation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from frostline.stats.significance import (
    beyond_p,
    detectable,
    equivalence_p,
    guarded_p,
    holm,
    replicates_needed,
    sign_flip_p,
)


@pytest.mark.parametrize("replicates", [2, 3, 6, 9])
def test_the_sign_flip_test_is_scipys_exact_permutation_test(replicates: int) -> None:
    values = np.random.default_rng(replicates).normal(0.4, 1.0, replicates)
    exact = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert sign_flip_p(values) == pytest.approx(exact.pvalue)


def test_the_sign_flip_test_counts_every_pattern_of_signs() -> None:
    values = np.array([0.3, -0.1, 0.5, 0.2])
    patterns = [abs(np.dot(signs, values)) for signs in itertools.product((1, -1), repeat=4)]
    by_hand = np.mean([total >= abs(values.sum()) - 1e-12 for total in patterns])
    assert sign_flip_p(values) == by_hand


def test_many_replicates_are_flipped_at_random_close_to_the_exact_p() -> None:
    values = np.random.default_rng(0).normal(0.35, 1.0, 16)
    exact = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(values) == pytest.approx(exact.pvalue, abs=0.01)
    assert sign_flip_p(values) == sign_flip_p(values)


@pytest.mark.parametrize(("replicates", "smallest"), [(5, 0.0625), (6, 0.03125), (7, 0.015625)])
def test_fewer_than_six_replicates_never_reach_five_percent(replicates: int, smallest: float) -> None:
    assert sign_flip_p(np.arange(1.0, replicates + 1)) == smallest


def test_no_difference_at_all_has_a_p_of_one() -> None:
    assert sign_flip_p(np.zeros(6)) == 1.0
    assert sign_flip_p(np.zeros(20)) == 1.0


def test_one_difference_has_no_p() -> None:
    assert sign_flip_p([0.4]) is None
    assert sign_flip_p([0.4, np.nan]) is None
    assert equivalence_p([0.4], 1.0) is None


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8))
def test_turning_all_signs_changes_nothing(values: list[float]) -> None:
    assert sign_flip_p(values) == sign_flip_p([-value for value in values])


def test_holm_is_the_step_down_correction() -> None:
    # By hand: 0.01 x 3, then 0.03 x 2, then max(0.04 x 1, 0.06).
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])


def test_holm_leaves_missing_p_values_out_of_the_count() -> None:
    assert holm([0.01, None, 0.04]) == pytest.approx([0.02, None, 0.04])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_never_makes_a_p_smaller_and_keeps_their_order(p_values: list[float]) -> None:
    corrected = [p for p in holm(p_values) if p is not None]
    assert all(after >= before for before, after in zip(p_values, corrected, strict=True))
    assert all(p <= 1 for p in corrected)
    order = np.argsort(p_values, kind="stable")
    assert list(np.array(corrected)[order]) == sorted(corrected)


def test_equivalence_needs_both_ends_of_the_margin_by_the_test_that_decides() -> None:
    values = np.array([0.01, -0.02, 0.015, 0.004, -0.006, 0.012])
    ends = [guarded_p(values - 0.05), guarded_p(values + 0.05)]
    assert equivalence_p(values, 0.05) == max(p for p in ends if p is not None)
    assert equivalence_p(values[:5], 0.05) is None


def test_identical_arms_are_equivalent_and_a_constant_gap_beyond_the_margin_is_not() -> None:
    assert equivalence_p(np.zeros(6), 0.05) == 2 / 2**6
    assert equivalence_p(np.full(6, 0.0625), 0.05) == 1.0


def test_the_guard_never_lowers_p_and_leaves_clear_differences_alone() -> None:
    for seed in range(40):
        values = np.random.default_rng(seed).exponential(size=7) - 0.5
        guarded, alone = guarded_p(values), sign_flip_p(values)
        assert guarded is not None
        assert alone is not None
        assert guarded >= alone
    assert guarded_p(np.array([1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 1.0])) == 2 / 2**7


def test_a_difference_within_the_margin_has_a_p_of_one() -> None:
    assert beyond_p(np.array([0.02, 0.03, 0.04, 0.02, 0.03, 0.03]), 0.05) == 1.0
    assert beyond_p(np.array([-1.0, -1.1, -0.9, -1.0, -1.05, -0.95]), 0.05) == 2 / 2**6


@pytest.mark.parametrize("replicates", [7, 10])
def test_what_is_called_detectable_is_found_four_times_in_five(replicates: int) -> None:
    generator = np.random.default_rng(replicates)
    effect = detectable(np.array([-1.0, 1.0]) / np.sqrt(2), replicates)  # a spread of 1
    assert effect is not None
    found = [guarded_p(generator.normal(effect, 1.0, replicates)) for _ in range(600)]
    assert np.mean([p is not None and p < 0.05 for p in found]) == pytest.approx(0.8, abs=0.06)


def test_more_arms_need_more_replicates() -> None:
    assert [replicates_needed(arms) for arms in (0, 1, 2, 3, 4)] == [6, 6, 7, 7, 8]
