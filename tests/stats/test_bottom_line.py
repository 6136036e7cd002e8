"""The sentences of the first screen: true of the numbers, and open where the evaluations leave it open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from frostline.stats import Estimate, VariantSummary, summarise
from frostline.stats.bottom_line import bottom_line, cost_details, standing
from frostline.stats.trade import AtEqualCost
from tests.builders.simulated_run import write_simulated_run


def found(by_seed: list[float], least: float, most: float, interval: tuple[float, float] | None = None) -> AtEqualCost:
    mean = sum(by_seed) / len(by_seed)
    low, high = interval or (None, None)
    difference = Estimate(mean, low, high, len(by_seed), "nats", "")
    return AtEqualCost("seconds", "freeze", 48.0, 2.8 + mean, 2.8, difference, least, most, by_seed)


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> VariantSummary:
    folder = tmp_path_factory.mktemp("runs") / "run"
    write_simulated_run(folder, arms=("full", "freeze"), seeds=(0, 1), with_watch=False, with_sampling=False)
    return summarise(folder).variants[0]


@pytest.mark.parametrize(
    ("one", "where"),
    [
        (found([-0.1, -0.2], -0.4, -0.05), "ahead"),
        (found([0.1, 0.2], 0.05, 0.3), "behind"),
        (found([0.1, 0.2], -0.05, 0.3), "open"),
        (found([0.1, -0.2], -0.4, 0.3), "level"),
        (found([0.1] * 7, 0.05, 0.3, (0.02, 0.18)), "behind"),
        (found([0.1] * 5 + [-0.1, 0.9], 0.05, 0.3, (-0.02, 0.42)), "level"),
        # Six of seven below their mean, and a t interval off zero: skew that the test of the claims is not fooled by.
        (found([-0.20, -0.19, -0.18, -0.2, -0.19, -0.18, 0.02], -0.4, -0.05, (-0.23, -0.09)), "level"),
        (found([0.2, 0.2, 0.2, 0.2, -0.01], 0.05, 0.3, (0.04, 0.28)), "level"),
    ],
)
def test_who_is_ahead_takes_all_seeds_and_evaluations_that_leave_no_doubt(one: AtEqualCost, where: str) -> None:
    assert standing(one) == where


def test_the_first_sentence_says_where_both_stood_in_the_same_time(variant: VariantSummary) -> None:
    arm = replace(variant.arms["freeze"], at_equal_time=found([0.1, 0.2], 0.05, 0.3))
    lead = bottom_line(variant.arms | {"freeze": arm}, "full")[0]
    assert lead == (
        "Given the same time in these 2 runs, full training got further than freeze: in the 48 s that freeze took, "
        "freeze reached a held-out loss of 2.950 nats a token and full training 2.800, a difference of 0.150 "
        "(seeds: 0.100, 0.200)."
    )


def test_of_several_arms_those_that_are_open_stand_together_with_what_was_read_off(variant: VariantSummary) -> None:
    freeze = replace(variant.arms["freeze"], at_equal_time=found([0.1, 0.2], -0.05, 0.3))
    reversed_ = replace(freeze, arm="reversed", at_equal_time=found([-0.02, -0.04], -0.1, 0.1))
    ahead = replace(freeze, arm="mlp", at_equal_time=found([-0.2, -0.4], -0.5, -0.1))
    arms = {"full": variant.arms["full"], "freeze": freeze, "reversed": reversed_, "mlp": ahead}
    assert bottom_line(arms, "full")[0] == (
        "Given the same time in these 2 runs, in held-out loss (nats a token): mlp got further than full training (by "
        "0.300); it is open for freeze (0.150 behind) and reversed (0.030 ahead), read off between evaluations that "
        "lie too far apart."
    )


def test_gain_kept_needs_and_rates_follow(variant: VariantSummary) -> None:
    arm = variant.arms["freeze"]
    assert arm.share_of_gain_kept is not None
    _, kept, needed, rates = bottom_line(variant.arms, "full")
    assert f"freeze keeps {100 * (arm.share_of_gain_kept.value or 0):.1f} % (seeds: " in kept
    assert "1.27 GB and" in needed
    assert "2.28 GB and" in needed
    assert "5e-4" in rates
    assert "may turn" in rates


def test_evaluations_too_far_apart_leave_it_open(variant: VariantSummary) -> None:
    arm = replace(variant.arms["freeze"], at_equal_time=found([0.1, 0.2], -0.1, 0.3))
    assert "it is open whether freeze or full training" in bottom_line(variant.arms | {"freeze": arm}, "full")[0]


def test_several_arms_share_the_first_sentence(tmp_path: Path) -> None:
    run = write_simulated_run(tmp_path / "run", seeds=tuple(range(5)), with_watch=False, with_sampling=False)
    variant = summarise(run).variants[0]
    lead = variant.bottom_line[0]
    assert lead.startswith("Given the same time in these 5 runs, in held-out loss (nats a token): freeze got further")
    assert "reversed and full training are not told apart" in variant.bottom_line[0]
    assert any("coincide: they never lay more than" in sentence for sentence in variant.cost_details)


def test_one_arm_alone_has_no_bottom_line(tmp_path: Path) -> None:
    variant = summarise(write_simulated_run(tmp_path / "run", arms=("full",))).variants[0]
    assert variant.bottom_line == variant.cost_details == cost_details({}, "full") == []
