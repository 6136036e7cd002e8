"""Simulated losses: C1 (slope), C2 (scatter), C8 (equivalence), C10 (early variance), C12 (scarce data)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.random import Generator

from bench.scenarios.cells import SUPPORTED, Cell, Floats, Null, Scenario, Simulation, arm_run, draw, offsets, series
from frostline.stats import scalars
from frostline.stats.claims.definitions import C1, C2, C8, C10, C12, CALM
from frostline.stats.claims.equivalence import equivalence_verdicts
from frostline.stats.claims.losses import scatter_verdicts
from frostline.stats.claims.scarcity import scarcity_verdicts
from frostline.stats.claims.verdicts import over_replicates


def slope(effect: float) -> Simulation:
    """C1: the frozen arm's slope differs by `effect` standard deviations of what replicates have of their own."""

    def simulate(generator: Generator, cell: Cell) -> str:
        doublings = np.log2(1 + np.arange(cell.steps))
        own = 0.02 * (draw(generator, cell.noise, cell.replicates, 1) + effect)
        gaps = own * doublings + 0.05 * series(generator, cell)
        return over_replicates([np.array([scalars.fall_per_doubling(arm_run(losses=gap)) for gap in gaps])], 1)[
            0
        ].verdict

    return simulate


def _centred_at_median(cell: Cell, values: Floats) -> Floats:
    """Of skewed noise half lies below its median, not its mean."""
    if cell.noise in ("normal", "t3"):
        return values
    return values - _median(cell.phi, cell.noise)


@lru_cache(maxsize=16)
def _median(phi: float, noise: str) -> float:
    return float(np.median(series(np.random.default_rng(1), Cell(1, 100_000, phi, noise))))


def scatter(shift: float, widening: float) -> Simulation:
    """C2: frozen minus full is noise, plus `shift`, plus what grows with the steps to `widening`."""

    def simulate(generator: Generator, cell: Cell) -> str:
        noise = _centred_at_median(cell, series(generator, cell))
        own = 0.0 if shift else 0.3 * offsets(generator, Cell(cell.replicates, 1, 0.0, "normal"))
        gaps = noise + own + shift + widening * np.linspace(0, 1, cell.steps)
        return scatter_verdicts([list(gaps)])[0].verdict

    return simulate


def equivalent(gap: float) -> Simulation:
    """C8: reversed minus full is `gap` margins all along eight evaluations; replicates differ by a third of it."""

    def simulate(generator: Generator, cell: Cell) -> str:
        own = draw(generator, cell.noise, cell.replicates, 1) / 3
        curve = gap + own + 0.05 * series(generator, Cell(cell.replicates, 8, cell.phi, cell.noise))
        return equivalence_verdicts([curve[:, -1]], [curve], 1.0)[0].verdict

    return simulate


def calm(ratio: float) -> Simulation:
    """C10: the frozen arm's noise has `ratio` times the variance; half of it is that of the batches, which both share.

    Replicates differ by a fifth in that ratio.
    """

    def simulate(generator: Generator, cell: Cell) -> str:
        shared, one, other = (series(generator, cell) for _ in range(3))
        own = np.exp(0.1 * draw(generator, cell.noise, cell.replicates, 1))
        frozen = math.sqrt(ratio) * own * (shared + one)
        logs = [
            math.log(
                scalars.loss_variance_early(arm_run(losses=mine)) / scalars.loss_variance_early(arm_run(losses=theirs))
            )
            for mine, theirs in zip(frozen, shared + other, strict=True)
        ]
        return over_replicates([logs], -1, -math.log(CALM))[0].verdict

    return simulate


def scarce(advantages: Sequence[float]) -> Simulation:
    """C12: the frozen arm ends so many standard deviations lower, from the scarcest of three amounts of data on."""

    def simulate(generator: Generator, cell: Cell) -> str:
        table = np.array(advantages) + draw(generator, cell.noise, cell.replicates, len(advantages))
        return scarcity_verdicts([table], np.array([0.0, 2.0, 4.0]))[0].verdict

    return simulate


LOSSES = (
    Scenario(
        C1.id,
        (Null("the slopes do not differ", slope(0.0)),),
        "slopes that differ by two standard deviations of their spread over replicates",
        slope(2.0),
    ),
    Scenario(
        C2.id,
        (
            Null("half of the points below", scatter(0.0, 0.0)),
            Null("most below, early or late alike", scatter(2.5, 0.0)),
        ),
        "the gap grows from nothing to three standard deviations of its noise",
        scatter(0.0, 3.0),
    ),
    Scenario(
        C8.id,
        (Null("on the margin", equivalent(1.0)), Null("on the other end of the margin", equivalent(-1.0))),
        "no difference, replicates differing by a third of the margin",
        equivalent(0.0),
        over_steps=False,
    ),
    Scenario(
        C10.id,
        (Null("on the margin", calm(CALM)), Null("on the other margin", calm(1 / CALM))),
        "half of the variance",
        calm(0.5),
    ),
    Scenario(
        C12.id,
        (
            Null("no difference anywhere", scarce((0.0, 0.0, 0.0))),
            Null("an arm that only learns less", scarce((-1.0, -2.0, -4.0)), SUPPORTED),
            Null("nothing at the scarcest, a loss at more", scarce((0.0, -2.0, -4.0)), SUPPORTED),
        ),
        "two standard deviations at the scarcest, one, none",
        scarce((2.0, 1.0, 0.0)),
        over_steps=False,
    ),
)
