"""The front of loss against time and memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from frostline.stats.front import fronts, surely_lower
from frostline.stats.runs import read_run
from frostline.stats.summary import FrontPoint
from tests.builders.simulated_run import write_simulated_run
from tests.builders.simulated_truth import FULL, ArmTruth

TRUTHS = {
    "full": ArmTruth(),
    "quick": ArmTruth(plan="train: [attn.qkv@50%:]", floor=2.8, seconds=0.5, optimizer_bytes=10),
    "worse": ArmTruth(plan="freeze: [attn@50%:]", floor=2.9, seconds=1.6, optimizer_bytes=20),
}


def front(folder: Path, seeds: int, *, with_memory: bool = True) -> dict[tuple[str, str], FrontPoint]:
    run = write_simulated_run(
        folder / "run", arms=tuple(TRUTHS), seeds=tuple(range(seeds)), truth=lambda _, arm: TRUTHS.get(arm, FULL),
        with_watch=False, with_sampling=False, with_memory=with_memory,
    )  # fmt: skip
    return {(point.axis, point.arm): point for point in fronts(read_run(run).variants[0])}


def test_an_arm_that_is_slower_and_worse_is_beaten_surely_with_seeds_enough(tmp_path: Path) -> None:
    found = front(tmp_path, 7)
    assert found["seconds", "full"].beaten_by == found["seconds", "quick"].beaten_by == []
    assert found["seconds", "worse"].beaten_by == found["seconds", "worse"].surely_beaten_by == ["full", "quick"]
    # It needs less memory than full, so that only the one that needs still less beats it there.
    assert found["bytes", "worse"].surely_beaten_by == ["quick"]
    assert (found["bytes", "worse"].cost.n, found["seconds", "worse"].cost.n) == (1, 7)


@pytest.mark.parametrize("seeds", [3, 6])
def test_with_fewer_seeds_than_its_rivals_ask_for_an_arm_is_beaten_but_not_surely(tmp_path: Path, seeds: int) -> None:
    worse = front(tmp_path, seeds)["seconds", "worse"]
    assert (worse.beaten_by, worse.surely_beaten_by) == (["full", "quick"], [])
    assert (worse.loss.low is None) == (seeds == 3)


def test_both_measures_must_be_lower_and_more_rivals_ask_for_more_seeds() -> None:
    low, high = ({seed: base + 0.01 * seed for seed in range(6)} for base in (0.0, 1.0))
    assert surely_lower([[(low, high), (low, high)]]) == [True]
    assert surely_lower([[(low, high), (high, low)]]) == [False]
    assert surely_lower([[(low, high)], [(low, high)]]) == [False, False]


def test_memory_that_was_not_measured_makes_no_front(tmp_path: Path) -> None:
    assert {axis for axis, _ in front(tmp_path, 2, with_memory=False)} == {"seconds"}
