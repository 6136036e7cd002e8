"""Simulated arms for what decides words outside of the claims: who is ahead, and which arm is surely beaten."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from bench.scenarios.cells import REPLICATES, Cell, Floats, Null, Scenario, Simulation, arm_run, draw
from frostline.stats.arm_run import ArmRun
from frostline.stats.bottom_line import AHEAD, BEHIND, standing
from frostline.stats.comparisons import told
from frostline.stats.front import surely_lower
from frostline.stats.pairs import Pair, Pairs
from frostline.stats.significance import MINIMUM_REPLICATES, guarded_p
from frostline.stats.trade import at_equal_cost, over_seconds

SPREAD = 0.01
"""What replicates differ by in the difference of two arms' losses, nats."""
ALL = (1, 2, 3, 5, *REPLICATES[1:])
TOLD = frozenset({AHEAD, BEHIND})


def at_equal_time(effect: float, every: int, seconds: float = 0.5) -> Simulation:
    """Who got further: a full arm of 60 s beside one that takes `seconds` a step, evaluated `every` steps.

    At the time of the shorter one their losses differ by `effect` standard deviations.
    """

    def simulate(generator: Generator, cell: Cell) -> str:
        behind = SPREAD * (draw(generator, cell.noise, cell.replicates) - effect)
        pairs = [Pair(seed, _arm(seconds, every, own), _arm(1.0, every, 0.0)) for seed, own in enumerate(behind)]
        found = at_equal_cost(Pairs("arm", "full", tuple(pairs), ()), "seconds", over_seconds)
        assert found is not None
        return standing(found)

    return simulate


def _arm(seconds: float, every: int, apart: float) -> ArmRun:
    """An arm of 60 steps whose loss falls with the time, the same for both, and lies `apart` from that."""
    held_out = {step: 3 + math.exp(-step * seconds / 20) + apart for step in range(0, 61, every)}
    taken = {"seconds": np.full(60, seconds), "timed": np.ones(60, dtype=np.bool_)}
    return arm_run(held_out=held_out, held_out_windows={}, window_predictions=np.empty(0), **taken)


def at_equal_steps(effect: float) -> Simulation:
    """Whether the held-out loss after all steps is lower, higher, or not told apart."""

    def simulate(generator: Generator, cell: Cell) -> str:
        differences = draw(generator, cell.noise, cell.replicates) - effect
        return told(float(differences.mean()), guarded_p(differences))

    return simulate


def beaten(loss: float, others: int = 1) -> Simulation:
    """`surely` where another arm, faster for sure and lower by `loss` standard deviations, surely beats this one.

    The differences of several others share the noise of this arm.
    """

    def simulate(generator: Generator, cell: Cell) -> str:
        def by_seed(values: Floats) -> dict[int, float]:
            return dict(enumerate(values.tolist()))

        noise = draw(generator, cell.noise, others + 1, cell.replicates)
        below = noise[:1] if others == 1 else (noise[:1] + noise[1:]) / math.sqrt(2)
        zero = by_seed(np.zeros(cell.replicates))
        quicker = [by_seed(0.7 * generator.normal(size=cell.replicates) - 20) for _ in below]
        compared = [[(by_seed(one - loss), zero), (own, zero)] for one, own in zip(below, quicker, strict=True)]
        return "surely" if any(surely_lower(compared)) else ""

    return simulate


WORDING = (
    Scenario(
        "Words: ahead or behind at equal time",
        (
            Null("nothing differs, both evaluated at that time", at_equal_time(0.0, 2), TOLD),
            Null("nothing differs, one read off between evaluations", at_equal_time(0.0, 20, 0.62), TOLD),
        ),
        "lower by two standard deviations of what replicates differ by",
        at_equal_time(2.0, 2),
        found=AHEAD,
        over_steps=False,
        replicates=ALL,
        from_replicates=MINIMUM_REPLICATES,
        note="With fewer than six replicates the sentence says 'in these runs', and of them alone it is true: it names "
        "the arm that was ahead in each. As a guess about other seeds it is as poor as these rows say.",
    ),
    Scenario(
        "Words: lower or higher at equal steps",
        (Null("nothing differs", at_equal_steps(0.0), frozenset({"lower", "higher"})),),
        "lower by two standard deviations of what replicates differ by",
        at_equal_steps(2.0),
        found="lower",
        over_steps=False,
    ),
    Scenario(
        "Words: surely beaten",
        (
            Null("a faster arm of the same loss", beaten(0.0), frozenset({"surely"})),
            Null("two such arms", beaten(0.0, 2), frozenset({"surely"})),
        ),
        "one lower by two standard deviations",
        beaten(2.0),
        found="surely",
        over_steps=False,
    ),
)
