"""What does a step cost in time? Totals over timed steps, resampled in blocks within each replicate.

Arms are interleaved in alternating order, so that a step of one arm and the same step of the baseline meet the machine
in the same state: r resamples them together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from frostline.stats.intervals import OVER_BLOCKS, Bootstrap, bootstrap, ratio
from frostline.stats.pairs import Pairs
from frostline.stats.runs import ArmRun
from frostline.stats.summary import Estimate

Floats = NDArray[np.float64]


def saving(pairs: Pairs) -> Bootstrap:
    """r = (T_baseline - T) / T_baseline over all timed steps that both took."""
    return bootstrap([pair.timed_seconds for pair in pairs.pairs], lambda totals: 1 - ratio(totals))


def step_seconds(runs: Sequence[ArmRun]) -> Estimate:
    """Mean time of a timed step."""
    found = bootstrap([_columns(run, np.ones(len(run.seconds))) for run in runs], ratio)
    return found.estimate("seconds", OVER_BLOCKS)


def total_seconds(runs: Sequence[ArmRun]) -> Estimate:
    """T: sum of a replicate's timed steps, mean over replicates."""
    timed = [run.seconds[run.timed] for run in runs if run.timed.any()]
    found = bootstrap(timed, lambda totals: totals[:, 0] / len(timed))
    return found.estimate("seconds", OVER_BLOCKS)


def tokens_per_second(runs: Sequence[ArmRun]) -> Estimate:
    """Tokens read in the timed steps over the time that they took."""
    tables = []
    for run in runs:
        tokens = np.array([step.tokens for step in run.steps], dtype=np.float64)
        tables.append(_columns(run, tokens))
    found = bootstrap(tables, lambda totals: 1 / ratio(totals))
    return found.estimate("tokens per second", OVER_BLOCKS)


def _columns(run: ArmRun, others: Floats) -> Floats:
    return np.column_stack([run.seconds, others])[run.timed]
