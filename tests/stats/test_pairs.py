"""Pairs: the same seed of two arms; what failed is left out and named."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from frostline.stats import scalars, summarise
from frostline.stats.pairs import all_pairs, pairs_of
from frostline.stats.runs import read_run
from tests.builders.simulated_run import write_simulated_run


def test_differences_are_taken_between_replicates_of_one_seed(tmp_path: Path) -> None:
    variant = read_run(write_simulated_run(tmp_path / "run")).variants[0]
    by_hand = [
        scalars.held_out_after(variant.runs[seed, "freeze"]) - scalars.held_out_after(variant.runs[seed, "full"])
        for seed in (0, 1, 2)
    ]
    np.testing.assert_array_equal(pairs_of(variant, "freeze").differences(scalars.held_out_after), by_hand)


def test_a_failed_replicate_is_left_out_and_named(tmp_path: Path) -> None:
    variant = read_run(write_simulated_run(tmp_path / "run", failed_arm="freeze")).variants[0]
    pairs = pairs_of(variant, "freeze")
    assert [pair.seed for pair in pairs.pairs] == [1, 2]
    assert pairs.left_out == ("seed 0 (freeze failed)",)
    assert [pair.seed for pair in pairs_of(variant, "reversed").pairs] == [0, 1, 2]


def test_where_the_baseline_failed_no_arm_has_that_pair(tmp_path: Path) -> None:
    variant = read_run(write_simulated_run(tmp_path / "run", failed_arm="full")).variants[0]
    assert [[pair.seed for pair in pairs.pairs] for pairs in all_pairs(variant)] == [[1, 2], [1, 2]]
    assert all(pairs.left_out == ("seed 0 (full failed)",) for pairs in all_pairs(variant))


def test_times_are_paired_step_by_step_without_warm_up(tmp_path: Path) -> None:
    variant = read_run(write_simulated_run(tmp_path / "run", seeds=(0,))).variants[0]
    seconds = pairs_of(variant, "freeze").pairs[0].timed_seconds
    assert seconds.shape == (37, 2)
    assert seconds[0, 1] == variant.runs[0, "full"].steps[3].seconds


def test_an_interrupted_only_replicate_counts_as_far_as_it_got(tmp_path: Path) -> None:
    variant = read_run(write_simulated_run(tmp_path / "run", seeds=(0,), interrupted=True)).variants[0]
    (pair,) = pairs_of(variant, "freeze").pairs
    assert pair.steps == 30


def test_an_unfinished_replicate_does_not_count_beside_finished_ones(tmp_path: Path) -> None:
    variant = read_run(write_simulated_run(tmp_path / "run", interrupted=True)).variants[0]
    assert pairs_of(variant, "freeze").left_out == ("seed 2 (freeze did not finish)",)


def test_of_interrupted_arms_what_both_had_by_then_is_compared(tmp_path: Path) -> None:
    run_folder = write_simulated_run(tmp_path / "run", seeds=(0,), interrupted=True)
    (path,) = (run_folder / "journal").glob("*-freeze.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    steps = [place for place, line in enumerate(lines) if '"StepTaken"' in line]
    path.write_text("".join(lines[: steps[11]]))  # it stands after 11 steps, full training after 30
    (pair,) = pairs_of(read_run(run_folder).variants[0], "freeze").pairs
    assert [len(own.losses) for own in (pair.arm, pair.baseline)] == [11, 11]
    assert all(step <= 11 for own in (pair.arm, pair.baseline) for step in own.held_out)
    assert scalars.held_out_after(pair.arm) - scalars.held_out_after(pair.baseline) == pytest.approx(
        pair.arm.held_out[10] - pair.baseline.held_out[10]
    )
    (sentence,) = (one for one in summarise(run_folder).answer if "(freeze: " in one)
    own, other = map(float, re.findall(r"loss of ([\d.]+) nats a token against ([\d.]+)", sentence)[0])
    told, word = re.findall(r": ([\d.]+) (worse|better)", sentence)[0]
    assert "in 11 steps" in sentence
    assert abs(own - other) == pytest.approx(float(told), abs=0.0015)
    assert (own > other) == (word == "worse")


def test_where_no_held_out_loss_was_taken_yet_the_claim_says_so(tmp_path: Path) -> None:
    run_folder = write_simulated_run(tmp_path / "run", seeds=(0,), interrupted=True)
    for path in (run_folder / "journal").glob("variant0-seed0-*.jsonl"):
        lines = path.read_text().splitlines(keepends=True)
        steps = [place for place, line in enumerate(lines) if '"StepTaken"' in line]
        path.write_text("".join(lines[: steps[4]] if steps else lines))
    told = " ".join(claim.sentence for claim in summarise(run_folder).claims)
    assert "No held-out loss was taken after training began" in told
