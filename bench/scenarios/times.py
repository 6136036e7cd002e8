"""Simulated times of steps, with rare pauses of the machine: C7."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from bench.scenarios.cells import Cell, Floats, Null, Scenario, Simulation, series
from frostline.stats.claims.definitions import C7, C7_AMOUNT, C7_GROWTH, LEAST_SAVING
from frostline.stats.claims.saving import growth_verdicts, saving_verdicts, slope_of_savings
from frostline.stats.claims.scarcity import slope_weights
from frostline.stats.series import mean_test, without_pauses


def timed(saving: float, least: float, *, pauses: float = 0.02) -> Simulation:
    """C7: step times of both arms with noise of 5 %, and pauses ten times as long as a step, in each arm alone."""

    def simulate(generator: Generator, cell: Cell) -> str:
        return saving_verdicts([saved_ratios(generator, cell, saving, pauses)], least)[0].verdict

    return simulate


def saved_ratios(generator: Generator, cell: Cell, saving: float, pauses: float) -> list[Floats]:
    """Logarithms of baseline over arm at each pair of steps, as the claim takes them."""
    shape = (cell.replicates, cell.steps)
    full = np.exp(0.05 * series(generator, cell)) * np.where(generator.random(shape) < pauses, 10, 1)
    arm = (1 - saving) * np.exp(0.05 * series(generator, cell)) * np.where(generator.random(shape) < pauses, 10, 1)
    return [without_pauses(one) for one in np.log(full / arm)]


def growing(*savings: float) -> Simulation:
    """C7: models of one, two and four times the size save so much."""

    def simulate(generator: Generator, cell: Cell) -> str:
        found = [mean_test(saved_ratios(generator, cell, saving, 0.02)) for saving in savings]
        weights = slope_weights(np.arange(len(savings), dtype=np.float64))
        return growth_verdicts([slope_of_savings(found, weights)])[0].verdict

    return simulate


TIMES = (
    Scenario(
        f"{C7.id} saves time",
        (Null("no saving, 2 % of the steps ten times as long", timed(0.0, 0.0)),),
        "a saving of 5 %, with pauses",
        timed(0.05, 0.0),
    ),
    Scenario(
        f"{C7.id} saves time, much",
        (Null("no saving, pauses in one of seven steps", timed(0.0, 0.0, pauses=1 / 7)),),
        "a saving of 48 %, with as many pauses",
        timed(0.48, 0.0, pauses=1 / 7),
        replicates=(2, 3),
    ),
    Scenario(
        f"{C7_AMOUNT.id} a quarter",
        (Null(f"a saving of {LEAST_SAVING:.0%}, with pauses", timed(LEAST_SAVING, LEAST_SAVING)),),
        "a saving of 25 %, with pauses",
        timed(0.25, LEAST_SAVING),
    ),
    Scenario(
        f"{C7_GROWTH.id} grows with size",
        (Null("three sizes, a saving of 30 % in all, with pauses", growing(0.3, 0.3, 0.3)),),
        "savings of 25, 30 and 35 %",
        growing(0.25, 0.3, 0.35),
        replicates=(3, 7),
    ),
)
