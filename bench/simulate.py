"""How often does a verdict err, and how often does it find what is there?

    python -m bench.simulate --write docs/simulation.md       # ten minutes on one core

Each claim's own judge gets simulated experiments whose truth is known (`bench/scenarios`): some in which a verdict is
wrong, and one with an effect. For n replicates, steps with a first-order autocorrelation phi, and noise that is
normal, heavy-tailed or skewed, it prints the largest share of false verdicts over nulls and kinds of noise, and the
power under normal noise. A claim is a `Scenario`: add one there, and it is simulated with the others.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scipy

from bench.coverage import arms_table, crossed_table, generator_for, replicate_tables, saving_table
from bench.scenarios import NOISES, SCENARIOS, Cell, Null, Scenario, Simulation
from frostline.machine import describe_machine

STEPS = (20, 60, 200)
PHIS = (0.0, 0.6, 0.9)
HIGHEST = 0.06
"""Share of false verdicts that no cell may pass."""
AGAIN = ((0.035, 1000), (0.05, 4000))
"""Above such a share, so many new experiments are simulated, and theirs alone is the share that counts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=200, help="of each cell, kind of noise and null, at first")
    parser.add_argument("--claim", action="append", help="only claims that begin so; repeatable")
    parser.add_argument("--write", type=Path, help="write the page here, too")
    options = parser.parse_args()
    chosen = [one for one in SCENARIOS if not options.claim or one.claim.startswith(tuple(options.claim))]
    text = page(chosen, options.simulations, whole=not options.claim)
    print(text, end="")
    if options.write is not None:
        options.write.write_text(text, encoding="utf-8")


@dataclass
class Ledger:
    """The largest share of false verdicts of every cell in which a verdict is given."""

    cells: dict[str, float] = field(default_factory=dict)

    def enter(self, name: str, false: float, power: float) -> None:
        if not math.isnan(false) and (false > 0 or power > 0):
            self.cells[name] = false

    def words(self) -> str:
        """How many cells there are, and which lie too high."""
        above = {name: share for name, share in self.cells.items() if share > HIGHEST}
        listed = "; ".join(f"{name}: {share:.1%}" for name, share in above.items())
        largest = max(self.cells.values(), default=0.0)
        return (
            f"**Of {len(self.cells)} cells in which a verdict is given, {len(above)} lie above {HIGHEST:.0%}"
            f"{f' ({listed})' if above else ''}; the largest share is {largest:.1%}.**"
        )


def page(scenarios: Sequence[Scenario], simulations: int, *, whole: bool = True) -> str:
    """The page, its head written when all else is known."""
    began, ledger = time.process_time(), Ledger()
    lines: list[str] = []
    if whole:
        lines += [*replicate_tables(), *arms_table(), *saving_table(STEPS, PHIS), *crossed_table()]
    for scenario in scenarios:
        print(f"{time.process_time() - began:.0f} s: {scenario.claim}", file=sys.stderr, flush=True)
        lines += scenario_table(scenario, simulations, ledger)
    return "\n".join([*head(simulations, ledger, time.process_time() - began), *lines]) + "\n"


def head(simulations: int, ledger: Ledger, seconds: float) -> Iterator[str]:
    """What is simulated, how, on what, and what that leaves open."""
    facts = describe_machine()
    first, second = ((f"{100 * share:g} %", f"{count:,}") for share, count in AGAIN)
    bound, last = AGAIN[0][0], AGAIN[-1][1]
    yield (
        "# How often a verdict errs\n\n"
        "Written by `python -m bench.simulate --write docs/simulation.md`, as it stands. Every verdict is given by the "
        f"code that judges a real run. {ledger.words()}\n\n"
        f"{facts['processor']}, {facts['cores']} cores; Python {platform.python_version()}, NumPy {np.__version__}, "
        f"SciPy {scipy.__version__}; {seconds:.0f} s of one core.\n\n"
        "A cell reads **false verdicts % / power %**. False: the largest share over the nulls named and over noise "
        "that is normal, Student's t with 3 degrees, exponential and lognormal (skewness 2 and 6). Power: under normal "
        "noise. '-': no verdict is given there. n are replicates, phi is the steps' first-order autocorrelation. A "
        "cell counts all its experiments, those without a verdict, too.\n\n"
        f"**How many.** {simulations} experiments for each cell, kind of noise and null. A largest share over many "
        f"kinds lies above its truth; so where a share lies above {first[0]}, {first[1]} new ones are simulated, with "
        f"other seeds, and their share alone counts; where theirs lies above {second[0]}, once more {second[1]}. What "
        "is left: a share that was never above the first bound has a standard error of "
        f"{_error(bound, simulations):.1%}, so that a true {2 * bound:.0%} passes unseen once in "
        f"{1 / _passes(2 * bound, simulations, bound):.0f} times; the last of the others has one of "
        f"{_error(HIGHEST, last):.1%} at {HIGHEST:.0%}.\n\n"
        "**Limits.** The bounds of the guard against skew and the rules for few steps were chosen on noise of these "
        "same kinds, with other seeds; other kinds are not covered. Below six replicates a verdict speaks of these "
        "runs alone, so that replicates have no effects of their own there. Each verdict is simulated for one arm: "
        "what Holm's correction makes of several stands below the tests over replicates."
    )


def _error(share: float, count: int) -> float:
    return math.sqrt(share * (1 - share) / count)


def _passes(truth: float, count: int, bound: float) -> float:
    """Chance that a share of `truth` stays within `bound` among `count`."""
    return float(scipy.stats.binom.cdf(math.floor(bound * count + 1e-9), count, truth))


def scenario_table(scenario: Scenario, simulations: int, ledger: Ledger) -> Iterator[str]:
    """The table of one claim: n down, steps and phi across."""
    columns = [(steps, phi) for steps in STEPS for phi in PHIS] if scenario.over_steps else [(20, 0.0)]
    nulls = "; ".join(null.what for null in scenario.nulls)
    note = f" {scenario.note}" if scenario.note else ""
    yield f"\n## {scenario.claim}\n\nNulls: {nulls}. Effect: {scenario.effect}.{note}\n"
    if scenario.over_steps:
        yield "| n | " + " | ".join(f"{steps} steps, phi {phi:g}" for steps, phi in columns) + " |"
    else:
        yield "| n | " + " | ".join([*(f"false, {noise}" for noise in NOISES), "power"]) + " |"
    yield "| ---: |" + " ---: |" * (len(columns) if scenario.over_steps else len(NOISES) + 1)
    for replicates in (1, *scenario.replicates) if scenario.over_steps else scenario.replicates:
        cells = []
        for steps, phi in columns:
            rates = [false_rate(scenario, Cell(replicates, steps, phi, noise), simulations) for noise in NOISES]
            normal = Cell(replicates, steps, phi, "normal")
            power = rate(scenario.find, normal, frozenset({scenario.found}), simulations, "effect")
            name = f"{scenario.claim}, n {replicates}"
            if scenario.over_steps:
                cells.append(_cell(max(rates), power))
                ledger.enter(f"{name}, {steps} steps, phi {phi:g}", max(rates), power)
            else:
                cells += [*(f"{one:.1%}" for one in rates), f"{power:.0%}"]
                if replicates >= scenario.from_replicates:
                    ledger.enter(name, max(rates), power)
        yield f"| {replicates} | " + " | ".join(cells) + " |"


def _cell(false: float, power: float) -> str:
    return "-" if math.isnan(false) or false == power == 0 else f"{100 * false:.1f} / {100 * power:.0f}"


def false_rate(scenario: Scenario, cell: Cell, simulations: int) -> float:
    """Largest share of false verdicts over the claim's nulls."""
    again = AGAIN if cell.replicates >= scenario.from_replicates else ()
    return max(settled(null, cell, simulations, again) for null in scenario.nulls)


def settled(null: Null, cell: Cell, simulations: int, again: Sequence[tuple[float, int]] = AGAIN) -> float:
    """Share of false verdicts; where it looks high, that of a new and larger batch alone."""
    found = rate(null.simulate, cell, null.false, simulations, null.what)
    for bound, count in again:
        if math.isnan(found) or found <= bound:
            break
        found = rate(null.simulate, cell, null.false, count, f"{null.what}, {count} more")
    return found


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


if __name__ == "__main__":
    main()
