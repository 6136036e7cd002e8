"""Trials with new seeds: which seeds, whose losses, and differences against ones computed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from frostline.advisor.retrained import RETRAINING, new_seeds, retrained
from frostline.run_folder import TrialFinished
from tests.advisor.test_race import trial

LOSSES = {
    ("a", 1): [1.0, 2.0, 3.0],
    ("full", 1): [1.5, 2.25, 3.75],
    ("a", 2): [1.1, 2.0, 2.9],
    ("full", 2): [1.5, 2.5, 3.5],
}


def trials_of(losses: dict[tuple[str, int], list[float]]) -> list[TrialFinished]:
    empty = trial("", 0.0, failed=True)
    return [
        replace(empty, candidate=name, seed=seed, rung=RETRAINING, held_out_losses=own, cause="")
        for (name, seed), own in losses.items()
    ]


def test_new_seeds_are_none_of_those_taken() -> None:
    assert new_seeds([0]) == (1, 2)
    assert new_seeds([1, 0, 3]) == (2, 4)


def test_differences_are_means_over_seeds_and_windows_with_an_interval_around_them() -> None:
    found = retrained([*trials_of(LOSSES), trial("a", 9.0, rung=2)], "a")
    assert found is not None
    assert found.seeds == (1, 2)
    assert found.losses["full"] == pytest.approx((2.5, 2.5))
    assert found.loss("a") == pytest.approx(2.0)
    by_hand = np.subtract([LOSSES["a", 1], LOSSES["a", 2]], [LOSSES["full", 1], LOSSES["full", 2]])
    difference = found.against["full"]
    assert difference.mean == pytest.approx(by_hand.mean())
    windows = by_hand.mean(axis=0)
    error_over_windows = windows.std(ddof=1) / np.sqrt(3)
    assert difference.high - difference.mean > 2 * error_over_windows, "two seeds say little"
    assert difference.low + difference.high == pytest.approx(2 * difference.mean)


def test_a_plan_that_lacks_a_seed_is_left_out_and_without_the_pick_there_is_nothing() -> None:
    without = {key: own for key, own in LOSSES.items() if key != ("full", 2)}
    found = retrained(trials_of(without), "a")
    assert found is not None
    assert set(found.losses) == {"a"}
    assert not found.against
    assert retrained(trials_of({**LOSSES, ("a", 2): []}), "a") is None, "it failed"
    assert retrained(trials_of(LOSSES), "b") is None
    assert retrained([], "a") is None
