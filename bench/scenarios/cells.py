"""What is a simulated experiment made of? A cell, noise of its kind, and the nulls and the effect of a claim."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import signal

from frostline.stats.arm_run import ArmRun
from frostline.stats.significance import MINIMUM_REPLICATES

Floats = NDArray[np.float64]
NOISES = ("normal", "t3", "exponential", "lognormal")
REPLICATES = (3, 6, 7, 10)
_LOGNORMAL = math.sqrt((math.e - 1) * math.e)


@dataclass(frozen=True)
class Cell:
    """One kind of experiment."""

    replicates: int
    steps: int
    phi: float
    noise: str


Simulation = Callable[[Generator, Cell], str | None]
"""One experiment, judged: its verdict, or None where it cannot be simulated (no verdict is given there)."""
SUPPORTED, REFUTED = frozenset({"supported"}), frozenset({"refuted"})


@dataclass(frozen=True)
class Null:
    """An experiment in which the verdicts in `false` are wrong."""

    what: str
    simulate: Simulation
    false: frozenset[str] = frozenset({"supported", "refuted"})


@dataclass(frozen=True)
class Scenario:
    """A claim with its nulls and an effect that it should find."""

    claim: str
    nulls: tuple[Null, ...]
    effect: str
    find: Simulation
    found: str = "supported"
    over_steps: bool = True
    """Whether steps and their autocorrelation matter."""
    replicates: tuple[int, ...] = REPLICATES
    from_replicates: int = 1
    """Replicates from which on it says more than what was seen in these runs."""
    note: str = ""
    """What a reader of its table should know, too."""


def draw(generator: Generator, noise: str, *shape: int) -> Floats:
    """Noise with mean 0 and variance 1."""
    if noise == "t3":
        return generator.standard_t(3, shape) / math.sqrt(3)
    if noise == "exponential":
        return generator.exponential(size=shape) - 1
    if noise == "lognormal":
        return (np.exp(generator.normal(size=shape)) - math.exp(0.5)) / _LOGNORMAL
    return generator.normal(size=shape)


def series(generator: Generator, cell: Cell, rows: int | None = None) -> Floats:
    """Stationary AR(1) noise with variance 1, [replicates, steps]."""
    burn = 60
    innovations = draw(generator, cell.noise, rows or cell.replicates, cell.steps + burn)
    filtered = signal.lfilter([math.sqrt(1 - cell.phi**2)], [1, -cell.phi], innovations, axis=-1)
    found: Floats = filtered[:, burn:]
    return found


def offsets(generator: Generator, cell: Cell) -> Floats:
    """What each replicate has of its own, [replicates, 1]; 0 where the verdict is about these runs."""
    found = draw(generator, cell.noise, cell.replicates, 1)
    return found if cell.replicates >= MINIMUM_REPLICATES else np.zeros_like(found)


def arm_run(**known: object) -> ArmRun:
    """As much of an `ArmRun` as the functions under test read."""
    return cast("ArmRun", SimpleNamespace(**{"fill_seconds": 0.0, **known}))
