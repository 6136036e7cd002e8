"""Decisions of a race on made-up trials: who goes on, at which learning rates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from frostline.advisor.race import (
    FIRST_RATES,
    RUNGS,
    decide,
    last_rates,
    next_in_valley,
    next_rate,
    paired,
    rates_around,
    standings,
    steps_of_rungs,
)
from frostline.run_folder import CandidateMade, TrialFinished

WINDOWS = 12
NOISE = np.random.default_rng(0).normal(size=WINDOWS)
"""What the windows have in common, whatever the plan."""


def made(
    name: str, origin: str = "usual", *, size: int = 100, seconds: float = 1.0, exceeds: tuple[str, ...] = ()
) -> CandidateMade:
    return CandidateMade(
        candidate=name,
        plan=f"train: [{name}]",
        asked={},
        settled={"train": [name]},
        origin=origin,
        why=f"what {name} is",
        trained_parameters=size,
        prefix_layers=0,
        ceiling=0.0,
        expected_seconds=seconds,
        expected_seconds_cached=seconds,
        expected_peak_bytes=1_000,
        optimizer_bytes=0,
        exceeds=list(exceeds),
    )


def trial(
    name: str, loss: float, *, rung: int = 0, rate: float = 0.1, wobble: float = 0.01, failed: bool = False
) -> TrialFinished:
    own = np.random.default_rng(sum(name.encode()) + round(10 * rate)).normal(size=WINDOWS) * wobble
    losses = [] if failed else (loss + NOISE + own).tolist()
    held_out = losses if rung == RUNGS - 1 else []
    return TrialFinished(rung, name, rate, 4, losses, held_out, [], "broken" if failed else "", 1.0, 2.0)


def test_rungs_grow_threefold_up_to_the_last() -> None:
    assert steps_of_rungs(36) == {0: 4, 1: 12, 2: 36}
    assert steps_of_rungs(18) == {1: 6, 2: 18}, "two steps would not tell plans apart"
    assert steps_of_rungs(9) == {1: 3, 2: 9}
    assert steps_of_rungs(2) == {2: 2}


def test_the_paired_interval_is_scipys() -> None:
    first, second = NOISE + 1, NOISE * 0.5
    found = paired(first.tolist(), second.tolist())
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert paired([1.0], [0.0]).low == -np.inf


def test_windows_in_common_do_not_blur_the_comparison() -> None:
    near = paired(trial("a", 2.00).window_losses, trial("b", 2.05).window_losses)
    assert near.better
    assert near.high - near.low < 0.05 < np.ptp(NOISE)


def test_each_candidate_stands_at_its_best_rate() -> None:
    trials = [trial("a", 3.0, rate=0.1), trial("a", 2.0, rate=0.3), trial("b", 2.5), trial("c", 1.0, failed=True)]
    found = standings(trials, 0)
    assert [(own.candidate, own.learning_rate) for own in found] == [("a", 0.3), ("b", 0.1), ("c", 0.1)]


def test_the_first_rung_tries_the_rates_next_to_the_recipes() -> None:
    lower, middle, higher = rates_around(0.3, FIRST_RATES)
    assert (lower, middle, higher) == pytest.approx((0.1, 0.3, 0.9))
    assert rates_tried(0, {middle: 2.0, higher: 2.5, lower: 3.0}) == [middle, higher, lower]
    assert rates_tried(0, {middle: 2.0, higher: 1.9}) == [middle, higher]
    assert rates_tried(0, {middle: math.inf, higher: math.inf, lower: 3.0}) == [middle, higher, lower]


def test_the_middle_rung_looks_for_the_valley_and_the_last_one_takes_its_rate() -> None:
    lowest, lower, middle, higher, highest, _ = rates_around(0.3)
    before = [trial("a", loss, rate=rate) for loss, rate in ((2.0, middle), (1.9, higher))]
    assert rates_tried(1, {higher: 1.8, highest: 1.9, middle: 1.85}, before) == [higher, highest, middle]
    assert rates_tried(1, {higher: 1.8, highest: 1.9, middle: 1.7, lower: 1.6, lowest: 2.0}, before) == [
        higher, highest, middle, lower, lowest,
    ]  # fmt: skip
    later = [trial("a", loss, rung=1, rate=rate) for rate, loss in ((lower, 1.8), (middle, 1.7), (higher, 1.8))]
    assert rates_tried(2, {middle: 1.5}, [*before, *later]) == [middle]


def test_the_last_rung_takes_the_lowest_point_of_the_parabola_through_the_rates_before_it() -> None:
    lower, middle, higher = rates_around(0.3, FIRST_RATES)
    before = {lower: 2.0, middle: 1.7, higher: 1.9}
    square, slope, _ = np.polyfit([math.log(rate) for rate in before], [*before.values()], 2)
    (rate,) = last_rates(before)
    assert rate == pytest.approx(math.exp(-slope / (2 * square)), rel=0.03), "to two digits"
    assert middle < rate < higher


def test_a_rate_at_the_edge_of_those_tried_is_tried_again_with_its_neighbour() -> None:
    assert last_rates({0.1: 1.0, 0.3: 2.0}) == (0.1, 0.0333333)
    assert last_rates({0.1: 2.0, 0.3: 1.0}) == (0.3, 0.9)
    assert last_rates({0.1: 2.0, 0.3: 1.0, 0.9: math.inf}) == (0.3,), "training diverges beyond"
    assert last_rates({0.1: math.inf, 0.3: math.inf}) == (0.1,)
    before = [trial("a", loss, rung=1, rate=rate) for rate, loss in ((0.1, 2.0), (0.3, 1.5))]
    assert rates_tried(2, {0.3: 1.4, 0.9: 1.3}, before) == [0.3, 0.9]


def test_a_rate_is_tried_as_it_is_written() -> None:
    assert 9 * 2e-4 != 0.0018
    assert rates_around(2e-4) == [2.22222e-5, 6.66667e-5, 2e-4, 6e-4, 0.0018, 0.0054]
    assert 3 * 0.1 != 0.3
    assert last_rates({0.1: 1.0, 0.03: 2.0}) == (0.1, 0.3)


def test_an_advice_whose_rates_were_not_rounded_goes_on() -> None:
    rates = [0.3 / 3, 0.3, 0.3 * 3]
    assert rates != rates_around(0.3, FIRST_RATES)
    tried = [trial("a", loss, rate=rate) for loss, rate in zip((3.0, 2.0, 2.5), rates, strict=True)]
    assert next_rate(tried, 0, "a", 0.3) is None
    assert next_rate(tried[1:], 0, "a", 0.3) == 0.1


def test_a_race_of_two_rungs_looks_for_the_valley_at_once() -> None:
    lower, middle, higher, highest = rates_around(0.3)[1:5]
    assert rates_tried(1, {middle: 2.0, higher: 1.9, highest: 1.95}) == [middle, higher, highest]
    assert rates_tried(1, {middle: 2.0, higher: 2.1, lower: 2.05}) == [middle, higher, lower]
    assert rates_tried(2, {middle: 2.0, higher: 2.1, lower: 2.05}) == [middle, higher, lower], (
        "where it is the only one"
    )


@pytest.mark.parametrize("start", range(6))
@pytest.mark.parametrize("best", range(6))
def test_the_bottom_of_a_valley_is_found_from_anywhere(start: int, best: int) -> None:
    rates = [10.0**place for place in range(6)]
    tried: dict[float, float] = {}
    while (rate := next_in_valley(tried, rates, rates[start])) is not None:
        assert rate not in tried
        tried[rate] = abs(rates.index(rate) - best + 0.1)
    assert min(tried, key=tried.__getitem__) == rates[best]
    assert {place for place in (best - 1, best + 1) if 0 <= place < 6} <= {rates.index(rate) for rate in tried}


def rates_tried(rung: int, losses: dict[float, float], before: Sequence[TrialFinished] = ()) -> list[float]:
    """All rates of one plan in `rung`, in their order, with base rate 0.3, where each gives its loss in `losses`."""
    trials = list(before)
    found: list[float] = []
    while (rate := next_rate(trials, rung, "a", 0.3)) is not None:
        found.append(rate)
        trials.append(trial("a", losses[rate], rung=rung, rate=rate, failed=math.isinf(losses[rate])))
    return found


def test_a_third_goes_on_with_whatever_it_is_compared_with() -> None:
    names = [f"plan{index}" for index in range(9)]
    candidates = {name: made(name) for name in names} | {
        "full": made("full", "full"), "upper-half": made("upper-half"),
        "random-1": made("random-1", "random"), "random-2": made("random-2", "random"),
    }  # fmt: skip
    trials = [trial(name, 2 + index / 10) for index, name in enumerate(names)]
    trials += [trial("full", 1.0), trial("upper-half", 9.0), trial("random-1", 5.0), trial("random-2", 4.0)]
    kept, dropped = decide(trials, 0, candidates)
    assert kept[:4] == ["full", "plan0", "plan1", "plan2"]
    assert kept[-2:] == ["random-2", "upper-half"]
    assert len(kept) <= 7
    assert dropped["plan8"] == "worse than plan0"
    assert dropped["random-1"] == "another random choice was better"
    assert set(kept) | set(dropped) == set(candidates)


def test_a_plan_whose_trials_all_failed_does_not_go_on() -> None:
    candidates = {"full": made("full", "full"), "a": made("a"), "b": made("b")}
    kept, dropped = decide([trial("full", 1.0), trial("a", 2.0), trial("b", 0.0, failed=True)], 0, candidates)
    assert kept == ["full", "a"]
    assert dropped == {"b": "every trial failed"}
