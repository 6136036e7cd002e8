"""The cost model is fitted to whole steps of the recipe, and does without plans that do not fit into memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from frostline.advisor import prices
from frostline.advisor.prices import fit_prices, price_of
from frostline.arms.prepared import Prepared, prepare
from frostline.corpus import Batch
from frostline.engine import Arm, StepOutcome
from frostline.errors import TrainingError
from frostline.recipe import load_recipe, variants_of
from tests.builders.experiments import write_experiment


def prepared_in(folder: Path, *overrides: str) -> Prepared:
    recipe = load_recipe(write_experiment(folder), overrides)
    return prepare(variants_of(recipe)[0], folder / "cache", say=lambda _: None)


def test_whole_steps_are_timed_whatever_the_accumulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows: set[int] = set()
    take_step = Arm.take_step

    def watched(self: Arm, batch: Batch, step: int) -> StepOutcome:
        windows.add(len(batch.window_ids))
        return take_step(self, batch, step)

    monkeypatch.setattr(Arm, "take_step", watched)
    fit_prices(prepared_in(tmp_path, "training.accumulation=3"), 0, say=lambda _: None)
    assert windows == {6}


def test_a_plan_that_does_not_fit_into_memory_is_priced_by_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds(sharing: Prepared, name: str) -> tuple[float, float]:
        if name == "everything":
            raise torch.OutOfMemoryError
        return 1e-9 * sharing.arms[name].cost.forward_flops, 1000.0

    monkeypatch.setattr(prices, "_measure", seconds)
    prepared = prepared_in(tmp_path)
    told: list[str] = []
    fitted = fit_prices(prepared, 0, say=told.append)
    assert "Does not fit into memory: everything. The others tell its price" in told
    full = price_of(fitted, prepared, prepared.arms["full"])
    assert full.step_seconds == pytest.approx(1e-9 * prepared.arms["full"].cost.forward_flops)

    def nothing_fits(sharing: Prepared, name: str) -> tuple[float, float]:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(prices, "_measure", nothing_fits)
    with pytest.raises(TrainingError, match="norms"):
        fit_prices(prepared, 0, say=told.append)


def test_what_goes_wrong_otherwise_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(sharing: Prepared, name: str) -> tuple[float, float]:
        raise RuntimeError("something else")

    monkeypatch.setattr(prices, "_measure", broken)
    with pytest.raises(RuntimeError, match="something else"):
        fit_prices(prepared_in(tmp_path), 0, say=lambda _: None)
