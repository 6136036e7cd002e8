"""Simulated weight changes: C5 (their shape), C6 (the load)."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from scipy import signal

from bench.scenarios.cells import Cell, Null, Scenario, Simulation, offsets, series
from frostline.stats.claims.definitions import C5, C6, LOAD, SETTLED_STEPS
from frostline.stats.claims.verdicts import Series, judged
from frostline.stats.claims.weights import shape_verdicts
from frostline.stats.series import mean_test
from frostline.stats.weight_noise import noise_curve


def noise_only(generator: Generator, cell: Cell) -> str | None:
    """C5: AdamW on gradients that are noise, white or with autocorrelation phi, of 60 weights."""
    if cell.steps < SETTLED_STEPS:
        return None
    weights, betas = 60, (0.9, 0.999)
    gradients = series(generator, cell, cell.replicates * weights).reshape(cell.replicates, weights, cell.steps)
    steps = np.arange(1, cell.steps + 1)
    first = signal.lfilter([1 - betas[0]], [1, -betas[0]], gradients, axis=-1) / (1 - betas[0] ** steps)
    second = signal.lfilter([1 - betas[1]], [1, -betas[1]], gradients**2, axis=-1) / (1 - betas[1] ** steps)
    changes = np.linalg.norm(first / np.sqrt(second), axis=1)
    curves = changes / changes[:, :1] / noise_curve(betas, steps.astype(np.float64))
    return shape_verdicts([list(curves)])[0].verdict


def shape(creep: float) -> Simulation:
    """C5: a normalised curve that falls by 1.6 and creeps up by `creep` over its second half, with noise of 5 %."""

    def simulate(generator: Generator, cell: Cell) -> str | None:
        if cell.steps < SETTLED_STEPS:
            return None
        place = np.arange(cell.steps)
        half = cell.steps // 2
        curve = 1 + 0.6 * np.exp(-place / 5)
        curve *= np.exp(math.log1p(creep) * np.maximum(0, place - half) / max(1, cell.steps - half - 1))
        own = 0.03 * offsets(generator, cell) * (place - half) / half
        curves = curve * np.exp(np.clip(own + 0.05 * series(generator, cell), -0.5, 0.5))
        return shape_verdicts([list(curves)])[0].verdict

    return simulate


def load(ratio: float) -> Simulation:
    """C6: the arm's change is `ratio` times the baseline's, with noise of 10 % a step and 5 % a replicate."""

    def simulate(generator: Generator, cell: Cell) -> str:
        logs = math.log(ratio) + 0.05 * offsets(generator, cell) + 0.1 * series(generator, cell)
        arms = [Series(list(logs), mean_test, lambda one: float(one.mean()))]
        return judged(arms, 1, math.log(LOAD))[0].verdict

    return simulate


WEIGHTS = (
    Scenario(
        C5.id,
        (Null("AdamW on gradients of noise", noise_only), Null("a fall, then nothing", shape(0.0))),
        "a fall by 1.6, then a creep of 25 %",
        shape(0.25),
    ),
    Scenario(
        C6.id,
        (Null("on the margin", load(LOAD)), Null("on the other margin", load(1 / LOAD))),
        "1.3 times as much",
        load(1.3),
    ),
)
