"""What does a step cost in time? Totals over timed steps, resampled in blocks within each replicate.

Arms are interleaved in alternating order, so that a step of one arm and the same step of the baseline meet the machine
in the same state: r resamples them together. Times of different runs are never mixed: where a replicate was taken from
an earlier run, it has no part in r unless its baseline was trained in that run too, nor in means with new ones. Nor are
times of different kinds of machines, where a run had several, nor those of different numbers of processes, where it was
gone on with by another one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from frostline.stats.arm_run import ArmRun
from frostline.stats.estimate import Estimate
from frostline.stats.intervals import OVER_BLOCKS, Bootstrap, bootstrap, ratio
from frostline.stats.pairs import Pairs

Floats = NDArray[np.float64]
TimedBy = tuple[str, str, tuple[int, ...]]


def saving(pairs: Pairs) -> Bootstrap:
    """r = (T_baseline - T) / T_baseline over all timed steps that both took in one run."""
    found = pairs.side_by_side().pairs
    return bootstrap([pair.timed_seconds for pair in found], lambda totals: 1 - ratio(totals))


def of_one_run(runs: Sequence[ArmRun]) -> list[ArmRun]:
    """The replicates whose times may be averaged: those of this run, or else of the earlier run with most of them.

    Of several kinds of machines, or numbers of processes, they are those of the one with most of them. A replicate that
    went on with another number of processes is among them where all have.
    """
    of_this_run = [run for run in runs if not run.trained_by] or list(runs)
    of_one_number = [run for run in of_this_run if len(run.processes) < 2] or of_this_run
    by_run = Counter(timed_by(run) for run in of_one_number)
    if not by_run:
        return []
    chosen = by_run.most_common(1)[0][0]
    return [run for run in runs if timed_by(run) == chosen]


def timed_by(run: ArmRun) -> TimedBy:
    """What times have in common that are averaged: run, kind of machine, number of processes."""
    return run.trained_by, run.machine, run.processes


def step_seconds(runs: Sequence[ArmRun]) -> Estimate:
    """Mean time of a timed step."""
    found = bootstrap([_columns(run, np.ones(len(run.seconds))) for run in of_one_run(runs)], ratio)
    return found.estimate("seconds", OVER_BLOCKS)


def total_seconds(runs: Sequence[ArmRun]) -> Estimate:
    """T: sum of a replicate's timed steps, mean over replicates."""
    timed = [run.seconds[run.timed] for run in of_one_run(runs) if run.timed.any()]
    found = bootstrap(timed, lambda totals: totals[:, 0] / len(timed))
    return found.estimate("seconds", OVER_BLOCKS)


def tokens_per_second(runs: Sequence[ArmRun]) -> Estimate:
    """Tokens read in the timed steps over the time that they took."""
    tables = []
    for run in of_one_run(runs):
        tokens = np.array([step.tokens for step in run.steps], dtype=np.float64)
        tables.append(_columns(run, tokens))
    found = bootstrap(tables, lambda totals: 1 / ratio(totals))
    return found.estimate("tokens per second", OVER_BLOCKS)


def _columns(run: ArmRun, others: Floats) -> Floats:
    return np.column_stack([run.seconds, others])[run.timed]
