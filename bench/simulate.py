"""How often does a verdict err, and how often does it find what is there?

    python -m bench.simulate --write docs/simulation.md       # some minutes on one core

Each claim's own judge gets simulated experiments whose truth is known (`bench/scenarios.py`): some in which a verdict
is wrong, and one with an effect. For n replicates, steps with a first-order autocorrelation phi, and noise that is
normal, heavy-tailed or skewed, it prints the largest share of false verdicts over nulls and kinds of noise, and the
power under normal noise. A claim is a `Scenario`: add one there, and it is simulated with the others.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import scipy
from numpy.random import Generator

from bench.scenarios import NOISES, SCENARIOS, Cell, Scenario, Simulation, draw, saved_ratios
from frostline.machine import describe_machine
from frostline.stats.intervals import Floats
from frostline.stats.series import mean_test
from frostline.stats.significance import ALPHA, equivalence_p, guarded_p, sign_flip_p

REPLICATES = (3, 6, 7, 10)
STEPS = (20, 60, 200)
PHIS = (0.0, 0.6, 0.9)
HIGHEST = 0.06
"""Share of false verdicts that no cell may pass, but for the simulation's own error."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=300, help="of each cell")
    parser.add_argument("--claim", action="append", help="only claims that begin so; repeatable")
    parser.add_argument("--write", type=Path, help="write the page here, too")
    options = parser.parse_args()
    began = time.process_time()
    chosen = [one for one in SCENARIOS if not options.claim or one.claim.startswith(tuple(options.claim))]
    lines = []
    for line in page(chosen, options.simulations, whole=not options.claim):
        print(line, flush=True)
        lines.append(line)
    lines.append(f"\n{time.process_time() - began:.0f} s of one core.")
    print(lines[-1])
    if options.write is not None:
        options.write.write_text("\n".join(lines) + "\n", encoding="utf-8")


def page(scenarios: Sequence[Scenario], simulations: int, *, whole: bool = True) -> Iterator[str]:
    """The page, line by line."""
    facts = describe_machine()
    yield (
        "# How often a verdict errs\n\n"
        "Written by `python -m bench.simulate --write docs/simulation.md`. Every verdict is given by the code that "
        f"judges a real run, on {simulations} simulated experiments a cell, kind of noise and null; seeds are hashes "
        "of the cell's name.\n\n"
        f"{facts['processor']}, {facts['cores']} cores; Python {platform.python_version()}, NumPy {np.__version__}, "
        f"SciPy {scipy.__version__}.\n\n"
        "A cell reads **false verdicts % / power %**. False: the largest share over the nulls named and over noise "
        "that is normal, Student's t with 3 degrees, exponential and lognormal (skewness 2 and 6). To reach: 6 % in "
        f"each; a largest share over many kinds lies above its truth, by up to {_slack(simulations):.1%} here. Power: "
        "under normal noise. '-': no verdict is given there. n are replicates, phi is the steps' first-order "
        "autocorrelation."
    )
    if whole:
        yield from replicate_tables(4 * simulations)
        yield from pause_table(simulations)
    for scenario in scenarios:
        yield from scenario_table(scenario, simulations)


def _slack(simulations: int) -> float:
    """Three standard errors of a share of 6 %."""
    return 3 * math.sqrt(HIGHEST * (1 - HIGHEST) / simulations)


def scenario_table(scenario: Scenario, simulations: int) -> Iterator[str]:
    """The table of one claim: n down, steps and phi across."""
    columns = [(steps, phi) for steps in STEPS for phi in PHIS] if scenario.over_steps else [(20, 0.0)]
    nulls = "; ".join(null.what for null in scenario.nulls)
    yield f"\n## {scenario.claim}\n\nNulls: {nulls}. Effect: {scenario.effect}.\n"
    if scenario.over_steps:
        yield "| n | " + " | ".join(f"{steps} steps, phi {phi:g}" for steps, phi in columns) + " |"
    else:
        yield "| n | " + " | ".join([*(f"false, {noise}" for noise in NOISES), "power"]) + " |"
    yield "| ---: |" + " ---: |" * (len(columns) if scenario.over_steps else len(NOISES) + 1)
    for replicates in (1, *REPLICATES) if scenario.over_steps else REPLICATES:
        cells = []
        for steps, phi in columns:
            rates = [false_rate(scenario, Cell(replicates, steps, phi, noise), simulations) for noise in NOISES]
            power = rate(
                scenario.find, Cell(replicates, steps, phi, "normal"), frozenset({scenario.found}), simulations
            )
            cells += [_cell(max(rates), power)] if scenario.over_steps else [f"{one:.1%}" for one in rates]
            cells += [] if scenario.over_steps else [f"{power:.0%}"]
        yield f"| {replicates} | " + " | ".join(cells) + " |"


def _cell(false: float, power: float) -> str:
    return "-" if math.isnan(false) or false == power == 0 else f"{100 * false:.1f} / {100 * power:.0f}"


def false_rate(scenario: Scenario, cell: Cell, simulations: int) -> float:
    """Largest share of false verdicts over the claim's nulls."""
    return max(rate(null.simulate, cell, null.false, simulations, null.what) for null in scenario.nulls)


def rate(simulate: Simulation, cell: Cell, verdicts: frozenset[str], simulations: int, name: str = "") -> float:
    """Share of experiments with one of `verdicts`; NaN where none is simulated."""
    generator = generator_for(f"{name} {cell}")
    found = 0
    for _ in range(simulations):
        verdict = simulate(generator, cell)
        if verdict is None:
            return math.nan
        found += verdict in verdicts
    return found / simulations


def generator_for(name: str) -> Generator:
    """A generator seeded by a name."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def replicate_tables(simulations: int) -> Iterator[str]:
    """What the guard against skew is for: the tests over replicates by themselves."""
    yield "\n## The tests over replicates\n\nFalse verdicts of the sign-flip test alone, then with its guard.\n"
    yield "| n | " + " | ".join(NOISES) + " | power at 1.5 SD | at 2 SD | at 3 SD |"
    yield "| ---: |" + " ---: |" * (len(NOISES) + 3)
    for replicates in (*REPLICATES, 14):
        cells = [_two(*_tested(replicates, noise, 0.0, simulations)) for noise in NOISES]
        cells += [_two(*_tested(replicates, "normal", effect, simulations // 2)) for effect in (1.5, 2.0, 3.0)]
        yield f"| {replicates} | " + " | ".join(cells) + " |"
    yield "\nEquivalence, where the true difference lies on the margin: two one-sided t tests, then what decides.\n"
    yield "| n | " + " | ".join(f"{noise}, {side}" for noise in NOISES for side in ("upper", "lower")) + " |"
    yield "| ---: |" + " ---: |" * (2 * len(NOISES))
    for replicates in REPLICATES:
        cells = [_two(*_equal(replicates, noise, side, simulations)) for noise in NOISES for side in (1, -1)]
        yield f"| {replicates} | " + " | ".join(cells) + " |"


def _two(first: float, second: float) -> str:
    return f"{100 * first:.1f} → {100 * second:.1f}"


def _tested(replicates: int, noise: str, effect: float, simulations: int) -> tuple[float, float]:
    generator = generator_for(f"tests {replicates} {noise} {effect}")
    values = draw(generator, noise, simulations, replicates) + effect
    alone = [sign_flip_p(one) for one in values]
    guarded = [guarded_p(one) for one in values]
    return _below(alone), _below(guarded)


def _equal(replicates: int, noise: str, side: int, simulations: int) -> tuple[float, float]:
    generator = generator_for(f"equal {replicates} {noise} {side}")
    values = side + draw(generator, noise, simulations, replicates) / 3
    return _below([_tost(one, 1.0) for one in values]), _below([equivalence_p(one, 1.0) for one in values])


def _tost(values: Floats, margin: float) -> float:
    """Two one-sided t tests."""
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    ends = ((values.mean() + margin) / error, (margin - values.mean()) / error)
    return float(max(scipy.stats.t.sf(end, len(values) - 1) for end in ends))


def _below(p_values: Sequence[float | None]) -> float:
    return float(np.mean([p is not None and p < ALPHA for p in p_values]))


def pause_table(simulations: int) -> Iterator[str]:
    """Coverage of the interval of the saving, where 2 % of the steps take ten times as long."""
    yield (
        "\n## The saving's interval\n\nHow often the 95 % interval of C7 holds the true saving (30 %), where 2 % of "
        "the steps take ten times as long; '-' where there are too few independent steps for one.\n"
    )
    columns = [(steps, phi) for steps in STEPS for phi in PHIS]
    yield "| n | " + " | ".join(f"{steps} steps, phi {phi:g}" for steps, phi in columns) + " |"
    yield "| ---: |" + " ---: |" * len(columns)
    for replicates in (1, 3, 7):
        cells = []
        for steps, phi in columns:
            generator = generator_for(f"pauses {replicates} {steps} {phi}")
            truth, hits, given = -math.log1p(-0.3), 0, 0
            for _ in range(simulations):
                found = mean_test(saved_ratios(generator, Cell(replicates, steps, phi, "normal"), 0.3, 0.02))
                if found.enough:
                    low, high = found.interval()
                    hits, given = hits + (low <= truth <= high), given + 1
            cells.append(f"{hits / given:.0%} of {given / simulations:.0%}" if given else "-")
        yield f"| {replicates} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
