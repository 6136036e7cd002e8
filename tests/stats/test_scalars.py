"""Numbers of one arm of one replicate, against numpy on the journal's own values."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frostline.stats import scalars, text_scores
from frostline.stats.arm_run import ArmRun
from frostline.stats.runs import read_run
from tests.builders.simulated_run import UNTIMED, write_simulated_run
from tests.builders.simulated_truth import PARAMETERS, TRUTHS, autoregressive


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ArmRun:
    folder = write_simulated_run(tmp_path_factory.mktemp("runs") / "run", seeds=(3,))
    return read_run(folder).variants[0].runs[3, "freeze"]


def test_the_last_loss_is_the_mean_over_the_last_tenth(run: ArmRun) -> None:
    assert scalars.loss_last(run) == pytest.approx(np.mean([step.loss_nats for step in run.steps[36:]]))


def test_the_slope_is_that_of_a_line_through_all_losses(run: ArmRun) -> None:
    assert scalars.loss_slope(run) == pytest.approx(np.polyfit(np.arange(40), run.losses, 1)[0])


def test_the_fall_per_doubling_is_a_weighted_line_over_the_logarithm(run: ArmRun) -> None:
    taken = np.arange(1, 41)
    fitted = np.polyfit(np.log2(taken), run.losses, 1, w=np.sqrt(1 / taken))[0]
    assert scalars.fall_per_doubling(run) == pytest.approx(fitted)


def test_the_variance_is_that_of_the_noise_and_not_of_the_fall() -> None:
    steps = np.arange(3000)
    fall = 2.0 + 1.5 * np.exp(-steps / 200)
    noise = np.random.default_rng(0).normal(0, 0.1, 3000)
    assert scalars.detrended_variance(fall) < 1e-9
    assert scalars.detrended_variance(fall + noise) == pytest.approx(0.01, rel=0.1)
    assert math.isnan(scalars.detrended_variance(fall[:5]))


def test_overfitting_is_held_out_minus_training_loss_at_the_last_step(run: ArmRun) -> None:
    assert scalars.overfitting(run) == pytest.approx(run.held_out[40] - scalars.loss_last(run))


def test_warm_up_steps_are_left_out_of_the_time(run: ArmRun) -> None:
    assert scalars.step_seconds(run) == pytest.approx(np.mean([step.seconds for step in run.steps[UNTIMED:]]))


def test_means_by_role_cover_the_watched_matrices_and_ranks_those_that_moved(run: ArmRun) -> None:
    drift = run.final["drift"]
    assert run.watched is not None
    queries = [value for value, role in zip(drift, run.watched.roles, strict=True) if role == "attn.q"]
    assert scalars.role_means(run, drift)["attn.q"] == pytest.approx(np.mean(queries))
    ranks = scalars.role_means(run, run.final["stable_rank"], moved_only=True)
    assert ranks["attn.q"] == 6.0
    assert math.isnan(ranks["attn.o"])


def test_the_trained_change_is_the_mean_of_the_matrices_that_train_per_learning_rate(run: ArmRun) -> None:
    steps, changes = scalars.trained_change(run)
    moving = run.changes[7][run.changes[7] > 0]
    assert steps[7] == 7
    assert changes[7] == pytest.approx(moving.mean() / 5e-4)


def test_shares_and_losses_of_text_are_ratios_of_totals(run: ArmRun) -> None:
    common = sum(text.common_tokens for text in run.text)
    assert text_scores.share_after(run) == pytest.approx(common / sum(text.tokens for text in run.text))
    loss = np.mean([text.untouched_loss_nats for text in run.text])  # all of one length here
    assert text_scores.quality_of("from_untouched")(run) == pytest.approx(loss)
    assert math.isnan(text_scores.quality_of("judge_loss")(run))
    judged = [replace(text, judge_loss_nats=30.0 + place) for place, text in enumerate(run.text)]
    total = sum(len(text.text.encode()) for text in run.text)
    assert text_scores.value(judged, text_scores.QUALITY["judge_loss"]) == pytest.approx((30 * 8 + 28) / total)


def test_a_plan_that_changes_counts_by_the_steps_in_which_it_trains(tmp_path: Path) -> None:
    truth = replace(TRUTHS["freeze"], plan="train: [attn.qkv@50%:]; at 20 thaw: [mlp]", trained_parameters=1_000_000)
    folder = write_simulated_run(tmp_path / "run", arms=("thaw",), seeds=(0,), truth=lambda variant, arm: truth)
    thawed = read_run(folder).variants[0].runs[0, "thaw"]
    assert thawed.trained_share == pytest.approx(1_500_000 / PARAMETERS)


def test_autoregressive_noise_has_the_parameters_that_it_was_given() -> None:
    series = autoregressive(np.random.default_rng(1), 50_000, 0.3, 0.5)
    assert series.std() == pytest.approx(0.3, rel=0.03)
    assert np.corrcoef(series[1:], series[:-1])[0, 1] == pytest.approx(0.5, abs=0.02)
