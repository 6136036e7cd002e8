"""Which simulated experiments put a verdict to the test? For each claim some in which it errs, and one with an effect.

A null is an experiment in which no verdict, or not the one named, is right: nothing differs, or the effect lies on the
very margin. Replicates differ by noise of their own, and steps by AR(1) noise, both of the cell's kind. With fewer than
six replicates the verdict is about these runs, so that replicates have no effects of their own there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import cast

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import signal

from frostline.stats import scalars
from frostline.stats.claims.choices import rank_p, rank_verdict
from frostline.stats.claims.definitions import (
    C1,
    C2,
    C3,
    C5,
    C6,
    C7,
    C7_AMOUNT,
    C8,
    C9,
    C10,
    C11,
    C11_LOOKING,
    C12,
    CALM,
    DISTANCE_MARGIN,
    LEAST_SAVING,
    LOAD,
    SETTLED_STEPS,
)
from frostline.stats.claims.equivalence import equivalence_verdicts
from frostline.stats.claims.losses import below, distance_ranks, scatter_verdicts
from frostline.stats.claims.saving import saving_verdicts
from frostline.stats.claims.scarcity import scarcity_verdicts
from frostline.stats.claims.texts import text_verdict
from frostline.stats.claims.verdicts import Series, judged, over_replicates
from frostline.stats.claims.weights import shape_verdicts
from frostline.stats.runs import ArmRun
from frostline.stats.series import mean_test, without_pauses
from frostline.stats.significance import MINIMUM_REPLICATES, guarded_p
from frostline.stats.weight_noise import noise_curve

Floats = NDArray[np.float64]
NOISES = ("normal", "t3", "exponential", "lognormal")
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


def _run(losses: Floats) -> ArmRun:
    """As much of an `ArmRun` as the functions of the training loss read."""
    return cast("ArmRun", SimpleNamespace(losses=losses))


def style(effect: float) -> Simulation:
    """C3: training moves p nearer to the corpus's by `effect` standard deviations of what replicates differ by."""

    def simulate(generator: Generator, cell: Cell) -> str:
        before = 0.2 + 0.02 * draw(generator, cell.noise, cell.replicates)
        after = 0.2 - 0.02 * math.sqrt(2) * effect + 0.02 * draw(generator, cell.noise, cell.replicates)
        return over_replicates([np.abs(after) - np.abs(before)], -1)[0].verdict

    return simulate


def nearer(gain: float) -> Simulation:
    """C9: the arm of the lower loss is nearer to the held-out text by `gain` margins; the losses surely differ."""

    def simulate(generator: Generator, cell: Cell) -> str:
        gains = DISTANCE_MARGIN * (gain + 0.5 * draw(generator, cell.noise, cell.replicates))
        return text_verdict(gains, 0.0, guarded_p(gains - DISTANCE_MARGIN), 1).verdict

    return simulate


def beats(effect: float) -> Simulation:
    """C11: this choice is lower than the average random plan by `effect` standard deviations of such plans."""

    def simulate(generator: Generator, cell: Cell) -> str:
        chosen = -effect + draw(generator, cell.noise, cell.replicates)
        random = draw(generator, cell.noise, cell.replicates) + draw(generator, cell.noise, cell.replicates)
        return over_replicates([chosen - random], -1)[0].verdict

    return simulate


def looking(effect: float) -> Simulation:
    """C11: a signal's choice is a random plan, lower by `effect` standard deviations; seven random arms anew a seed."""

    def simulate(generator: Generator, cell: Cell) -> str:
        plan = draw(generator, cell.noise, 1) - effect + draw(generator, cell.noise, cell.replicates) / 2
        others = draw(generator, cell.noise, cell.replicates, 7) + draw(generator, cell.noise, cell.replicates, 7) / 2
        differences = (others - plan[:, None]).ravel().tolist()
        return rank_verdict(differences, rank_p(differences)).verdict

    return simulate


def slope(effect: float) -> Simulation:
    """C1: the frozen arm's slope differs by `effect` standard deviations of what replicates have of their own."""

    def simulate(generator: Generator, cell: Cell) -> str:
        doublings = np.log2(1 + np.arange(cell.steps))
        own = 0.02 * (draw(generator, cell.noise, cell.replicates, 1) + effect)
        gaps = own * doublings + 0.05 * series(generator, cell)
        return over_replicates([np.array([scalars.fall_per_doubling(_run(gap)) for gap in gaps])], 1)[0].verdict

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
            math.log(scalars.loss_variance_early(_run(mine)) / scalars.loss_variance_early(_run(theirs)))
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


SUPPORTED, REFUTED = frozenset({"supported"}), frozenset({"refuted"})
SCENARIOS: tuple[Scenario, ...] = (
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
        C3.id,
        (Null("the distance stays", style(0.0)),),
        "nearer by two standard deviations of its spread over replicates",
        style(2.0),
        over_steps=False,
    ),
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
    Scenario(
        f"{C7.id} saves time",
        (Null("no saving, 2 % of the steps ten times as long", timed(0.0, 0.0)),),
        "a saving of 5 %, with pauses",
        timed(0.05, 0.0),
    ),
    Scenario(
        f"{C7_AMOUNT.id} a quarter",
        (Null(f"a saving of {LEAST_SAVING:.0%}, with pauses", timed(LEAST_SAVING, LEAST_SAVING)),),
        "a saving of 25 %, with pauses",
        timed(0.25, LEAST_SAVING),
    ),
    Scenario(
        C8.id,
        (Null("on the margin", equivalent(1.0)), Null("on the other end of the margin", equivalent(-1.0))),
        "no difference, replicates differing by a third of the margin",
        equivalent(0.0),
        over_steps=False,
    ),
    Scenario(
        C9.id,
        (
            Null("nearer by the margin", nearer(1.0)),
            Null("nearer by two margins", nearer(2.0), SUPPORTED),
            Null("no nearer", nearer(0.0), frozenset({"refuted"})),
        ),
        "no nearer, replicates differing by half of the margin",
        nearer(0.0),
        over_steps=False,
    ),
    Scenario(
        C10.id,
        (Null("on the margin", calm(CALM)), Null("on the other margin", calm(1 / CALM))),
        "half of the variance",
        calm(0.5),
    ),
    Scenario(
        f"{C11.id} this choice",
        (Null("an average choice", beats(0.0)),),
        "three standard deviations of random plans",
        beats(3.0),
        over_steps=False,
    ),
    Scenario(
        f"{C11_LOOKING.id} looking inside, by rank",
        (Null("a worthless signal", looking(0.0)),),
        "three standard deviations of random plans",
        looking(3.0),
        over_steps=False,
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
"""That of C4, whose units are prompts, stands beside its judge."""

__all__ = ["NOISES", "SCENARIOS", "Cell", "Null", "Scenario", "below", "distance_ranks", "draw", "saved_ratios"]
