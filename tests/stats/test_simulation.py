"""Do verdicts err as rarely as docs/simulation.md says? Its critical cells, with few simulations.

A rate over n simulations has a standard error of sqrt(rate (1 - rate) / n): each bound allows for three of them.
"""

from __future__ import annotations

import math

import pytest
from numpy.random import Generator

from bench.scenarios import SCENARIOS, Cell, Null, Scenario
from bench.simulate import AGAIN, Ledger, rate, settled
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
        if cell.replicates < scenario.from_replicates:
            continue
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


def _errs(shares: dict[int, float]) -> Null:
    """A null whose verdict is false in so many of the first 200, and of those after."""
    count = iter(range(10**6))

    def simulate(generator: Generator, cell: Cell) -> str:
        place = next(count)
        share = next(value for start, value in sorted(shares.items(), reverse=True) if start <= place)
        return "supported" if generator.random() < share else "undecided"

    return Null("made up", simulate)


def test_a_share_that_looks_high_is_that_of_new_experiments_alone() -> None:
    cell = Cell(3, 20, 0.0, "normal")
    assert settled(_errs({0: 1.0, 200: 0.0}), cell, 200) == 0
    assert settled(_errs({0: 1.0, 200: 1.0, 200 + AGAIN[0][1]: 0.5}), cell, 200) == pytest.approx(0.5, abs=0.03)
    assert settled(_errs({0: 0.01, 200: 1.0}), cell, 200) < AGAIN[0][0]


def test_the_page_counts_the_cells_with_a_verdict_and_names_those_that_err_too_often() -> None:
    ledger = Ledger()
    for name, false, power in (("a", 0.01, 0.5), ("b", 0.08, 0.5), ("none", 0.0, 0.0), ("never", math.nan, math.nan)):
        ledger.enter(name, false, power)
    assert "Of 2 cells in which a verdict is given, 1 lie above 6% (b: 8.0%)" in ledger.words()
