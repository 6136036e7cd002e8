"""What the search took: training steps apart from the rest, counted by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from frostline.advisor.advice import Advice
from frostline.advisor.search_cost import search_cost
from frostline.run_folder import AdviceEnded, AdviceStarted
from tests.advisor.test_race import trial


def test_training_steps_are_told_apart_from_what_else_took_time() -> None:
    advice = Advice(AdviceStarted("1", "", "", {}, "none", 36, 0, run_steps=8))
    advice.add(replace(trial("a", 1.0), step_losses=[1.0] * 4, seconds=2.0))
    advice.add(replace(trial("b", 1.0, failed=True), step_losses=[1.0] * 2, seconds=1.0))
    assert search_cost(advice) is None, "it goes on"
    advice.add(AdviceEnded("finished", "", 40.0))
    cost = search_cost(advice)
    assert cost is not None
    assert (cost.trials, cost.steps, cost.step_seconds) == (2, 6, 10.0)
    assert cost.runs == pytest.approx(6 / 8)
    assert "took 40 s: 2 trials of 6 training steps in all, 0.75 times those of a full run" in cost.sentence
    assert "which took 10 s (25 %)" in cost.sentence
    advice.started = replace(advice.started, run_steps=0)  # a journal of 0.1.0
    older = search_cost(advice)
    assert older is not None
    assert "full run" not in older.sentence


def test_trials_that_took_longer_than_the_search_were_side_by_side() -> None:
    advice = Advice(AdviceStarted("1", "", "", {}, "none", 36, 0, run_steps=8))
    for name in ("a", "b"):
        advice.add(replace(trial(name, 1.0), step_losses=[1.0] * 4, seconds=5.0, seconds_in_all=25.0))
    advice.add(AdviceEnded("finished", "", 40.0))
    cost = search_cost(advice)
    assert cost is not None
    assert cost.side_by_side
    assert cost.sentence.endswith("which took 40 s of processes side by side.")
