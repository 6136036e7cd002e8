"""Tokens a second and share of the peak: what a GPU makes of its time, and what to do where it waits."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from frostline.arms import Speed, needed_flops, prepare, speed, speed_of
from frostline.recipe import load_recipe, variants_of
from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment


@pytest.mark.parametrize(
    ("share", "sentence"),
    [
        (0.41, "12,346 tokens a second, 41 % of this device's measured peak."),
        (
            0.29,
            "12,346 tokens a second, 29 % of this device's measured peak: it mostly waits. A larger training.batch "
            "(less training.accumulation), or longer windows, would use it.",
        ),
        (math.nan, "12,346 tokens a second."),
    ],
)
def test_a_device_that_mostly_waits_is_told_with_what_would_use_it(share: float, sentence: str) -> None:
    assert Speed(12345.6, share).sentence == sentence


def test_speed_is_that_of_the_usual_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (variant,) = variants_of(load_recipe(write_experiment(tmp_path)))
    prepared = prepare(variant, tmp_path / "cache", say=lambda text: None)
    planned = prepared.arms["freeze"]
    assert speed_of(prepared, planned, [1.0], stores_prefix=False) is None, "of a CPU nothing is said"
    monkeypatch.setattr(speed, "DEVICES", {"cpu"})
    monkeypatch.setattr(speed, "measured_peak", lambda device, precision, size: 1e9)
    assert speed_of(prepared, planned, [], stores_prefix=False) is None
    found = speed_of(prepared, planned, [0.5, 0.5, 90.0], stores_prefix=True)
    assert found is not None
    assert found.tokens_per_second == 2 * 16 / 0.5
    stored = planned.cost.full_step_flops * (1 - planned.cost.ceiling_cached)
    assert found.share_of_peak == pytest.approx(stored / 0.5 / 1e9)
    assert needed_flops(planned.cost, stores_prefix=False) == planned.cost.step_flops > stored

    def no_memory(device: torch.device, precision: str, size: int) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(speed, "measured_peak", no_memory)
    found = speed_of(prepared, planned, [0.5], stores_prefix=True)
    assert found is not None
    assert math.isnan(found.share_of_peak)


def test_a_run_says_it_after_training_and_records_what_it_would_have_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_experiment(tmp_path, seeds=[0])
    silent = run_tiny(recipe, tmp_path / "silent").run_folder
    said: list[str] = []
    monkeypatch.setattr(speed, "DEVICES", {"cpu"})
    monkeypatch.setattr(speed, "SIZE", 64)
    monkeypatch.setattr("frostline.terminal.progress.PlainProgress.say", lambda self, text: said.append(text))
    told = run_tiny(recipe, tmp_path / "told").run_folder
    assert sum("tokens a second" in sentence for sentence in said) == 3
    assert journal_without_clock(told) == journal_without_clock(silent)
