"""The arms are timed alone, in turns, on windows that come back; a prefix is stored where the recipe says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from frostline.arms import FIRST_VISITS
from frostline.errors import TrainingError
from frostline.forecast.timing import Timing, time_recipe
from frostline.recipe import load_recipe
from tests.builders.experiments import write_experiment


def timed(folder: Path, *overrides: str, rounds: int = 12, said: list[str] | None = None) -> Timing:
    recipe = load_recipe(write_experiment(folder), overrides)
    sentences = [] if said is None else said
    (timing,) = time_recipe(recipe, folder / "cache", rounds=rounds, memory=False, say=sentences.append)
    return timing


def test_every_arm_has_its_time_its_ceiling_and_its_share_of_the_peak(tmp_path: Path) -> None:
    said: list[str] = []
    timing = timed(tmp_path, said=said)
    assert [arm.arm for arm in timing.arms] == ["full", "freeze", "reversed"]
    assert timing.rounds == 12
    for arm in timing.arms:
        assert arm.step_seconds.value is not None
        assert arm.step_seconds.low is not None
        phases = arm.phases
        parts = phases.prefix + phases.forward + phases.backward + phases.optimizer
        assert parts == pytest.approx(arm.step_seconds.value)
        assert 0 < arm.share_of_peak < 1
    full, freeze, _ = timing.arms
    assert full.saving is None
    assert full.ceiling == 0
    assert freeze.saving is not None
    assert 0 < freeze.ceiling < freeze.ceiling_cached
    assert "Arm full can save nothing: everything trains" in said
    assert said.index("Arm full can save nothing: everything trains") < said.index("Timing full, freeze, reversed")


def test_a_stored_prefix_is_timed_apart_from_its_first_visit(tmp_path: Path) -> None:
    timing = timed(tmp_path, "training.prefix_cache.use=always")
    full, freeze, _ = timing.arms
    assert full.first_visit_seconds is None
    assert freeze.first_visit_seconds is not None
    assert freeze.needed_flops == pytest.approx((1 - freeze.ceiling_cached) / (1 - full.ceiling) * full.needed_flops)


def test_a_corpus_that_is_read_whole_in_a_step_has_no_first_visits_to_time(tmp_path: Path) -> None:
    timing = timed(tmp_path, "training.prefix_cache.use=always", "corpus.tokens=64", "windows.held_out=2")
    assert all(arm.first_visit_seconds is None for arm in timing.arms)


def test_without_a_stored_prefix_every_visit_is_like_the_first(tmp_path: Path) -> None:
    timing = timed(tmp_path, "training.prefix_cache.use=never")
    assert all(arm.first_visit_seconds is None for arm in timing.arms)
    full, freeze, _ = timing.arms
    assert freeze.needed_flops == pytest.approx((1 - freeze.ceiling) * full.needed_flops)


def test_with_random_offsets_nothing_is_stored(tmp_path: Path) -> None:
    timing = timed(tmp_path, "windows.order=random", "training.prefix_cache.use=always")
    assert all(arm.first_visit_seconds is None for arm in timing.arms)


def test_arms_that_do_not_fit_together_are_timed_one_after_another(tmp_path: Path) -> None:
    said: list[str] = []
    timing = timed(tmp_path, "training.schedule=one-by-one", said=said)
    assert not timing.interleaved
    assert [arm.arm for arm in timing.arms] == ["full", "freeze", "reversed"]
    assert any("one after another" in sentence for sentence in said)


def test_the_reference_loop_can_be_timed_too(tmp_path: Path) -> None:
    timing = timed(tmp_path, "training.engine=reference", rounds=2)
    assert all(arm.phases.prefix == 0 for arm in timing.arms)
    assert all(arm.step_seconds.low is None for arm in timing.arms)  # two steps say nothing about their spread


def test_peak_memory_is_measured_for_each_arm(tmp_path: Path) -> None:
    recipe = load_recipe(write_experiment(tmp_path, arms={"full": {"train": "all"}, "freeze": {"train": ["attn@-1:"]}}))
    (timing,) = time_recipe(recipe, tmp_path / "cache", rounds=1, memory=True, say=lambda sentence: None)
    assert all(arm.peak_bytes is not None and arm.peak_bytes > 1e8 for arm in timing.arms)


def test_an_arm_that_diverges_is_named(tmp_path: Path) -> None:
    wild = ("arms.freeze.learning_rate=1e30", "training.gradient_clipping=null")
    with pytest.raises(TrainingError, match=r"arm freeze: .*not a finite number"):
        timed(tmp_path, *wild, rounds=FIRST_VISITS)
