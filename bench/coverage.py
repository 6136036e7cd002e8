"""What are the verdicts made of? The tests over replicates by themselves, and how often the intervals hold.

Tables of `bench.simulate`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.random import Generator
from scipy import stats

from bench.scenarios import NOISES, Cell, draw, saved_ratios
from bench.scenarios.cells import REPLICATES
from frostline.stats.crossed import crossed_interval
from frostline.stats.estimate import Estimate
from frostline.stats.intervals import Floats, t_interval
from frostline.stats.series import mean_test
from frostline.stats.significance import ALPHA, equivalence_p, guarded_p, holm, sign_flip_p

TESTED = 2000
"""Simulations of each test."""
COVERED = 1000
"""Simulations of each interval."""
COMPONENTS = {"mostly seeds": (1.0, 0.0, 1.0), "windows": (0.0, 1.0, 1.0), "both": (0.25, 1.0, 1.0)}
"""Standard deviations of what differs by seed, by window, and by both."""


def generator_for(name: str) -> Generator:
    """A generator seeded by a name."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def replicate_tables() -> Iterator[str]:
    """What the guard against skew is for: the tests over replicates by themselves."""
    yield (
        "\n## The tests over replicates\n\nFalse verdicts of the sign-flip test alone, then with its guard. "
        f"{TESTED:,} experiments a cell; the effects lie under normal noise.\n"
    )
    yield "| n | " + " | ".join(NOISES) + " | power at 1.5 SD | at 2 SD | at 3 SD |"
    yield "| ---: |" + " ---: |" * (len(NOISES) + 3)
    for replicates in (*REPLICATES, 14):
        cells = [_two(*_tested(replicates, noise, 0.0)) for noise in NOISES]
        cells += [_two(*_tested(replicates, "normal", effect)) for effect in (1.5, 2.0, 3.0)]
        yield f"| {replicates} | " + " | ".join(cells) + " |"
    yield "\nEquivalence, where the true difference lies on the margin: two one-sided t tests, then what decides.\n"
    yield "| n | " + " | ".join(f"{noise}, {side}" for noise in NOISES for side in ("upper", "lower")) + " |"
    yield "| ---: |" + " ---: |" * (2 * len(NOISES))
    for replicates in REPLICATES:
        cells = [_two(*_equal(replicates, noise, side)) for noise in NOISES for side in (1, -1)]
        yield f"| {replicates} | " + " | ".join(cells) + " |"


def arms_table() -> Iterator[str]:
    """What Holm's correction makes of several arms."""
    yield (
        "\nWith several arms: how often any of one, of two, of three has a false verdict after Holm's correction, "
        "where their noise is independent. Then strong skew is beyond what the guard was made for.\n"
    )
    yield "| n | " + " | ".join(NOISES) + " |"
    yield "| ---: |" + " ---: |" * len(NOISES)
    for replicates in (*REPLICATES, 14):
        cells = []
        for noise in NOISES:
            generator = generator_for(f"arms {replicates} {noise}")
            values = draw(generator, noise, TESTED, 3, replicates)
            p_values = [[guarded_p(arm) for arm in one] for one in values]
            shares = [_below([_least(holm(own[:arms])) for own in p_values]) for arms in (1, 2, 3)]
            cells.append(", ".join(f"{100 * share:.1f}" for share in shares))
        yield f"| {replicates} | " + " | ".join(cells) + " |"


def _least(p_values: Sequence[float | None]) -> float | None:
    return min((p for p in p_values if p is not None), default=None)


def _two(first: float, second: float) -> str:
    return f"{100 * first:.1f} → {100 * second:.1f}"


def _tested(replicates: int, noise: str, effect: float) -> tuple[float, float]:
    generator = generator_for(f"tests {replicates} {noise} {effect}")
    values = draw(generator, noise, TESTED, replicates) + effect
    alone = [sign_flip_p(one) for one in values]
    guarded = [guarded_p(one) for one in values]
    return _below(alone), _below(guarded)


def _equal(replicates: int, noise: str, side: int) -> tuple[float, float]:
    generator = generator_for(f"equal {replicates} {noise} {side}")
    values = side + draw(generator, noise, TESTED, replicates) / 3
    return _below([_tost(one, 1.0) for one in values]), _below([equivalence_p(one, 1.0) for one in values])


def _tost(values: Floats, margin: float) -> float:
    """Two one-sided t tests."""
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    ends = ((values.mean() + margin) / error, (margin - values.mean()) / error)
    return float(max(stats.t.sf(end, len(values) - 1) for end in ends))


def _below(p_values: Sequence[float | None]) -> float:
    return float(np.mean([p is not None and p < ALPHA for p in p_values]))


def saving_table(all_steps: Sequence[int], phis: Sequence[float]) -> Iterator[str]:
    """Coverage of the interval of the saving, where 2 % of the steps take ten times as long."""
    yield (
        "\n## The saving's interval\n\nHow often the 95 % interval of C7 holds the true saving (30 %), where 2 % of "
        "the steps take ten times as long, and half of its median width in points. It is given in every experiment: "
        f"with too few independent steps it is wide. {COVERED:,} experiments a cell.\n"
    )
    columns = [(steps, phi) for steps in all_steps for phi in phis]
    yield "| n | " + " | ".join(f"{steps} steps, phi {phi:g}" for steps, phi in columns) + " |"
    yield "| ---: |" + " ---: |" * len(columns)
    for replicates in (1, 2, 3, 7):
        cells = []
        for steps, phi in columns:
            generator = generator_for(f"pauses {replicates} {steps} {phi}")
            truth, held, widths = 0.3, 0, []
            for _ in range(COVERED):
                found = mean_test(saved_ratios(generator, Cell(replicates, steps, phi, "normal"), truth, 0.02))
                low, high = (-math.expm1(-end) for end in found.interval())
                held += low <= truth <= high
                widths.append((high - low) / 2)
            cells.append(f"{held / COVERED:.0%} ±{100 * float(np.median(widths)):.1f}")
        yield f"| {replicates} | " + " | ".join(cells) + " |"


def crossed_table() -> Iterator[str]:
    """Coverage of the interval over seeds and windows, and of that over seeds alone."""
    yield (
        "\n## The held-out loss: intervals over seeds, and over seeds and windows\n\nHow often a 95 % interval of a "
        "paired difference holds the truth for other seeds and other windows of the text, over 16 windows: t over "
        "seeds, which speaks of these windows alone, then the crossed one. What differs by seed, by window and by both "
        f"is of the kind named. {COVERED:,} experiments a cell. An interval is no verdict: over skewed differences it "
        "holds less often than it says.\n"
    )
    kinds = ("normal", "exponential", "lognormal")
    yield "| seeds | " + " | ".join(f"{what}, {noise}" for what in COMPONENTS for noise in kinds) + " |"
    yield "| ---: |" + " ---: |" * (len(COMPONENTS) * len(kinds))
    for seeds in (2, 3, 7):
        cells = []
        for what, parts in COMPONENTS.items():
            for noise in kinds:
                generator = generator_for(f"crossed {seeds} {what} {noise}")
                held = np.zeros(2)
                for _ in range(COVERED):
                    values = _crossed(generator, noise, seeds, parts)
                    both = crossed_interval(values, np.ones(values.shape[1]), "nats")
                    held += [_holds(t_interval(values.mean(axis=1), "nats")), both is not None and _holds(both)]
                alone, crossed = held / COVERED
                cells.append(f"{alone:.0%} → {crossed:.0%}")
        yield f"| {seeds} | " + " | ".join(cells) + " |"


def _crossed(generator: Generator, noise: str, seeds: int, parts: tuple[float, float, float]) -> Floats:
    of_seeds, of_windows, of_both = parts
    found: Floats = of_seeds * draw(generator, noise, seeds, 1) + of_windows * draw(generator, noise, 16)
    return found + of_both * draw(generator, noise, seeds, 16)


def _holds(found: Estimate) -> bool:
    return found.low is not None and found.high is not None and found.low <= 0 <= found.high
