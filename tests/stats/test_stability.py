"""Divergence, clipped steps, the spread between seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from frostline.stats import summarise
from frostline.stats.arm_run import ArmRun
from frostline.stats.runs import read_run
from frostline.stats.stability import clipped, clipped_share, diverged, seed_spread
from tests.builders.simulated_run import write_simulated_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[ArmRun]:
    folder = tmp_path_factory.mktemp("runs") / "run"
    write_simulated_run(folder, arms=("full",), seeds=tuple(range(6)), with_watch=False, with_sampling=False)
    return read_run(folder).variants[0].of("full")


def test_a_run_diverged_if_a_loss_is_not_finite_or_it_ends_above_its_start(runs: list[ArmRun]) -> None:
    run = runs[0]
    broken = run.losses.copy()
    broken[5] = np.inf
    assert not diverged(run)
    assert diverged(replace(run, losses=broken))
    assert diverged(replace(run, held_out={0: 3.0, 40: 3.01}))
    assert not diverged(replace(run, held_out={0: 3.0, 20: 9.0, 40: 2.9}))
    assert not diverged(replace(run, held_out={}))


def test_the_share_of_clipped_steps_is_that_of_norms_above_the_limit(runs: list[ArmRun]) -> None:
    norms = [0.5, 1.0, 1.5, 2.0]
    run = replace(
        runs[0],
        steps=tuple(replace(step, gradient_norm=norm) for step, norm in zip(runs[0].steps, norms, strict=False)),
    )
    assert clipped(run, 1.0) == 0.5
    assert clipped_share([run], None) is None
    found = clipped_share([run, replace(run, steps=run.steps[2:])], 1.0)
    assert found is not None
    assert (found.value, found.low, found.n) == (0.75, None, 2)


def test_the_spread_between_seeds_has_the_interval_of_a_normal_deviation(runs: list[ArmRun]) -> None:
    found = seed_spread(runs)
    last = np.array([run.held_out[40] for run in runs])
    assert found.value == pytest.approx(last.std(ddof=1))
    ends = 5 * last.var(ddof=1) / stats.chi2.ppf([0.975, 0.025], 5)
    assert (found.low, found.high) == pytest.approx(tuple(np.sqrt(ends)))
    assert seed_spread(runs[:1]).value is None
    assert seed_spread(runs[:3]).low is None


def test_the_summary_names_the_seeds_that_diverged(tmp_path: Path) -> None:
    arms = summarise(write_simulated_run(tmp_path / "run", failed_arm="freeze")).variants[0].arms
    assert (arms["freeze"].diverged, arms["full"].diverged) == ([0], [])
    assert [one.diverged for one in arms["freeze"].by_seed] == [True, False, False]
    assert arms["freeze"].by_seed[0].held_out_after == pytest.approx(arms["freeze"].by_seed[0].held_out_after)
