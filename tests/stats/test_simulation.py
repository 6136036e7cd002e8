"""Do verdicts err as rarely as docs/simulation.md says? Its critical cells, with few simulations.

A rate over n simulations has a standard error of sqrt(rate (1 - rate) / n): each bound allows for three of them.
"""

from __future__ import annotations

import math

import pytest

from bench.scenarios import SCENARIOS, Cell, Null, Scenario
from bench.simulate import rate
from frostline.recipe.primary import COMPARED
from frostline.stats.comparisons import MEASURES

SIMULATIONS = 150
BOUND = 0.06 + 3 * math.sqrt(0.06 * 0.94 / SIMULATIONS)
CRITICAL = (
    Cell(1, 60, 0.9, "normal"), Cell(1, 20, 0.6, "t3"), Cell(3, 20, 0.9, "exponential"), Cell(6, 20, 0.0, "lognormal"),
    Cell(7, 60, 0.6, "lognormal"), Cell(3, 200, 0.0, "lognormal"),
)  # fmt: skip
NULLS = [(scenario, null) for scenario in SCENARIOS for null in scenario.nulls]


@pytest.mark.parametrize(("scenario", "null"), NULLS, ids=[f"{one.claim}: {null.what}" for one, null in NULLS])
def test_a_verdict_errs_rarely(scenario: Scenario, null: Null) -> None:
    for cell in CRITICAL:
        found = rate(null.simulate, cell, null.false, SIMULATIONS, null.what)
        assert math.isnan(found) or found <= BOUND, (scenario.claim, cell)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[one.claim for one in SCENARIOS])
def test_a_verdict_finds_what_is_there(scenario: Scenario) -> None:
    found = rate(scenario.find, Cell(10, 200, 0.0, "normal"), frozenset({scenario.found}), 40)
    assert found > 0.5


@pytest.mark.parametrize("claim", ["C1", "C8", "C10", "C12"])
def test_no_verdict_over_replicates_is_given_with_three(claim: str) -> None:
    scenario = next(one for one in SCENARIOS if one.claim == claim)
    cell = Cell(3, 200, 0.0, "normal")
    assert rate(scenario.find, cell, frozenset({"supported", "refuted"}), 20) == 0


def test_a_recipe_may_name_every_measure_that_is_compared() -> None:
    assert set(COMPARED) == set(MEASURES)
