"""How much, how spread: sentences from made-up trials."""

from __future__ import annotations

from dataclasses import replace

from frostline.advisor.advice import Advice
from frostline.advisor.spread import how_much_how_spread
from frostline.run_folder import AdviceStarted, CandidateMade
from tests.advisor.test_race import made, trial


def advice_of(sizes: dict[str, int], losses: dict[str, float]) -> Advice:
    advice = Advice(AdviceStarted("1", "", "", {}, "none", 36, 0))
    for name, size in sizes.items():
        own: CandidateMade = made(name, "random" if name.startswith("random") else "usual", size=size)
        advice.add(replace(own, layers=size // 10))
    for name, loss in losses.items():
        advice.add(trial(name, loss))
    return advice


def test_sizes_stand_in_order_and_a_spread_plan_beside_the_contiguous_one_of_its_size() -> None:
    sizes = {"upper-half": 100, "last-2": 50, "alternating": 105, "spread-10": 20, "spread-5": 10, "random-1": 50}
    losses = {"upper-half": 2.0, "last-2": 3.0, "alternating": 2.5, "spread-10": 2.6, "spread-5": 2.7, "random-1": 2.2}
    much, first, second = how_much_how_spread(advice_of(sizes, losses))
    assert much.index("spread-5") < much.index("spread-10") < much.index("random-1")
    assert "what alternating is (10 layers) is worse than what upper-half is (10 layers)" in first
    assert "what random-1 is (5 layers) is better than what last-2 is (5 layers)" in second


def test_nothing_is_said_of_plans_of_other_sizes_or_that_did_not_race() -> None:
    sizes = {"upper-half": 100, "alternating": 130, "random-1": 50}
    assert not how_much_how_spread(advice_of(sizes, dict.fromkeys(sizes, 2.0)))
    assert not how_much_how_spread(advice_of({"upper-half": 100, "alternating": 100}, {"upper-half": 2.0}))
    assert not how_much_how_spread(advice_of({}, {}))
