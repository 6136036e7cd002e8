"""The rows of a head that were left out cost what those that are timed cost, so many times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from frostline.arms import Prepared, foresee
from frostline.forecast import head
from frostline.forecast.head import NOTHING_MORE, HeadCost, head_cost
from frostline.recipe import load_recipe, variants_of
from tests.builders.experiments import write_experiment
from tests.builders.filed import write_both
from tests.builders.models import HIDDEN, VOCABULARY, tiny_model

ROWS = 8
MORE = (VOCABULARY - ROWS) / ROWS
ARMS = {
    "full": {"train": "all"},
    "norms": {"train": ["norm"]},
    "later": {"train": ["norm"], "changes": [{"at": 2, "thaw": ["embed", "head"]}]},
    "lora": {"lora": {"rank": 2}},
}


@pytest.fixture
def durations(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What each piece of work is said to take, in turn; it is done all the same."""
    left: list[float] = []

    def seconds(work: Callable[[], object], device: torch.device) -> float:
        work()
        return left.pop(0)

    monkeypatch.setattr(head, "_least_seconds", seconds)
    monkeypatch.setattr(head, "FEW_ROWS", ROWS)
    return left


def foreseen(folder: Path, family: str = "llama", *, filed: bool = False, precision: str = "fp32") -> Prepared:
    if filed:
        write_both(folder, tiny_model(family))
    source = {"source": "narrow"} if filed else {"source": "model"}
    path = write_experiment(folder, family, model=source, arms=ARMS)
    (variant,) = variants_of(load_recipe(path, [f"training.precision={precision}"]))
    return foresee(variant, folder / "cache", say=lambda sentence: None)


def test_a_head_whose_rows_are_all_there_costs_nothing_more(tmp_path: Path) -> None:
    assert head_cost(foreseen(tmp_path), "full", None) is NOTHING_MORE


@pytest.mark.parametrize("name", ["full", "later"])
def test_a_head_that_ever_trains_is_copied_and_its_gradient_kept(
    name: str, tmp_path: Path, durations: list[float]
) -> None:
    durations.extend([0.5, 128.0, 64.0])
    gradient = (VOCABULARY - ROWS) * HIDDEN * 4
    assert head_cost(foreseen(tmp_path), name, ROWS) == HeadCost(MORE, 0.5 * MORE, 0.5 * MORE, gradient)


@pytest.mark.parametrize("name", ["norms", "lora", None])
def test_a_frozen_head_in_the_precision_of_its_use_costs_its_tokens_alone(
    name: str | None, tmp_path: Path, durations: list[float]
) -> None:
    durations.extend([128.0, 64.0])
    assert head_cost(foreseen(tmp_path), name, ROWS) == HeadCost(MORE, 0.5 * MORE, 0.0, 0)


def test_a_tied_head_trains_with_the_embeddings(tmp_path: Path, durations: list[float]) -> None:
    durations.extend([0.5, 128.0, 64.0])
    assert head_cost(foreseen(tmp_path, "gpt2"), "full", ROWS).saved_bytes == (VOCABULARY - ROWS) * HIDDEN * 4


def test_a_frozen_16_bit_head_is_cast_up_once_a_pass_in_fp32_alone(tmp_path: Path, durations: list[float]) -> None:
    durations.extend([0.5, 128.0, 64.0])
    assert head_cost(foreseen(tmp_path, filed=True), "norms", ROWS) == HeadCost(MORE, 0.5 * MORE, 0.5 * MORE, 0)
    durations.extend([128.0, 64.0])
    in_bf16 = foreseen(tmp_path, filed=True, precision="bf16")
    assert head_cost(in_bf16, "norms", ROWS) == HeadCost(MORE, 0.5 * MORE, 0.0, 0)


def test_the_least_of_some_rounds_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([0.0, 9.0, 10.0, 13.0, 20.0, 22.0, 30.0, 34.0])
    monkeypatch.setattr(head, "time", SimpleNamespace(perf_counter=lambda: next(readings)))
    done: list[int] = []
    assert head._least_seconds(lambda: done.append(1), torch.device("cpu")) == 2.0
    assert len(done) == 1 + head.ROUNDS
