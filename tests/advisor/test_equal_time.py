"""Losses in equal time, against a loss that is a line over the logarithm of the steps."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from frostline.advisor.equal_time import losses_at_equal_time
from frostline.run_folder import TrialFinished
from tests.advisor.test_race import WINDOWS, made, trial

STEPS = (4, 12, 36)
SECONDS = {"quick": 0.25, "half": 0.5, "full": 1.0, "slow": 9.0, "random-as-quick": 0.25}
CANDIDATES = {name: made(name, "full" if name == "full" else "usual", seconds=own) for name, own in SECONDS.items()}


def loss_after(steps: float) -> float:
    return 4.0 - 0.3 * math.log(steps)


def raced(name: str) -> list[TrialFinished]:
    """The plan in three rungs, the first of which looks at half of the windows."""
    trials = [replace(trial(name, loss_after(n), rung=rung, wobble=0.0), steps=n) for rung, n in enumerate(STEPS)]
    return [replace(trials[0], window_losses=trials[0].window_losses[: WINDOWS // 2]), *trials[1:]]


def test_a_dearer_plan_is_judged_by_the_steps_that_it_makes_in_the_time_of_the_quickest() -> None:
    found = losses_at_equal_time([own for name in SECONDS for own in raced(name)], CANDIDATES)
    after_all = {name: sum(raced(name)[-1].held_out_losses) / WINDOWS for name in SECONDS}
    assert found["quick"] == after_all["quick"]
    assert found["half"] == pytest.approx(after_all["half"] + loss_after(18) - loss_after(36))
    assert found["full"] == pytest.approx(after_all["full"] + loss_after(9) - loss_after(36))
    assert found["slow"] is None, "a single step says nothing"
    assert "random-as-quick" not in found


def test_only_plans_of_the_last_rung_have_one() -> None:
    trials = [*raced("full"), *raced("quick")[:2]]
    assert set(losses_at_equal_time(trials, CANDIDATES)) == {"full"}
    assert not losses_at_equal_time([], CANDIDATES)
