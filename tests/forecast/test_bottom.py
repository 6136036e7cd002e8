"""What lies below the frost line is counted layer by layer, and read from its file once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from frostline.arms import PlannedArm, Prepared, foresee
from frostline.arms.fill import windows_to_fill
from frostline.engine import RECORD_BYTES, PrefixTrial
from frostline.forecast import bottom
from frostline.forecast.bottom import NOTHING_FILLED, PrefixCost, fill_estimate, prefix_cost, read_rate
from frostline.forecast.small_passes import SmallPasses
from frostline.plans import ResolvedPlan, decoder_stack
from frostline.recipe import load_recipe, variants_of
from tests.builders.experiments import VOCABULARY, write_experiment
from tests.builders.models import tiny_model
from tests.builders.tokenizers import word_tokenizer

ARMS = {
    "full": {"train": "all"},
    "low": {"train": ["attn@1:"]},
    "high": {"train": ["mlp@4:"]},
    "head": {"train": ["head"]},
}
LAYERS = 6


def foreseen(folder: Path, *overrides: str, family: str = "llama") -> Prepared:
    if family == "deepseek_v3":  # two layers are dense
        tiny_model(family, layers=LAYERS, first_k_dense_replace=2).save_pretrained(folder / "model")
        word_tokenizer(VOCABULARY).save_pretrained(folder / "model")
    (variant,) = variants_of(load_recipe(write_experiment(folder, family, layers=LAYERS, arms=ARMS), overrides))
    return foresee(variant, folder / "cache", say=lambda sentence: None)


class Prefix:
    """Of one layer: 3 seconds a pass and half a second a token, by the clock that it sets forth."""

    now = 0.0

    def compute(self, ids: torch.Tensor, mask: None, depths: list[int]) -> None:
        assert depths == [1]
        self.now += 3.0 + 0.5 * ids.shape[1]

    def row_bytes(self, tokens: int) -> int:
        return 10 * tokens


@dataclass(frozen=True)
class Forward:
    prefix_trial: PrefixTrial | None
    prefix: Prefix | None = None


@dataclass(frozen=True)
class StandIn:
    forward: Forward


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prefix takes 3 seconds and 5 more for each of its layers, 7 where they have experts."""

    def tried(prepared: Prepared, planned: PlannedArm, seed: int) -> StandIn:
        _, stack = decoder_stack(prepared.model)
        below = stack[: planned.resolved.prefix_layers]
        layers = [7.0 if any("experts" in name for name, _ in layer.named_modules()) else 5.0 for layer in below]
        return StandIn(Forward(PrefixTrial(None, 3.0 + sum(layers), 2048)))

    monkeypatch.setattr(bottom, "make_arm", tried)


@pytest.mark.parametrize(("arm", "layers"), [("low", 1), ("high", 4), ("head", LAYERS)])
@pytest.mark.usefixtures("trials")
def test_a_prefix_takes_its_first_layer_and_so_many_like_its_last(arm: str, layers: int, tmp_path: Path) -> None:
    dense = prefix_cost(foreseen(tmp_path / "dense"), arm, None)
    assert dense == PrefixCost(3.0 + 5.0 * layers, 0.0, 2048)
    mixed = prefix_cost(foreseen(tmp_path / "mixed", family="deepseek_v3"), arm, None)
    assert mixed == PrefixCost(3.0 + 5.0 + 7.0 * (layers - 1), 0.0, 2048)


@pytest.mark.parametrize(("arm", "layers"), [("low", 1), ("high", 4), ("head", LAYERS)])
def test_of_few_tokens_a_prefix_is_its_last_layer_so_many_times(
    arm: str, layers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = Prefix()
    cut: list[ResolvedPlan] = []

    def made(prepared: Prepared, planned: PlannedArm, seed: int, **given: object) -> StandIn:
        cut.append(planned.resolved)
        return StandIn(Forward(None, prefix))

    monkeypatch.setattr(bottom, "make_arm", made)
    monkeypatch.setattr(bottom, "time", SimpleNamespace(perf_counter=lambda: prefix.now))
    found = prefix_cost(foreseen(tmp_path, family="deepseek_v3"), arm, SmallPasses(8, None))
    assert found == PrefixCost(layers * 16 * 0.5, layers * 3.0, 160)
    (resolved,) = cut
    assert resolved.prefix_layers == 1
    experts = any("experts" in portion.parameter for portion in resolved.portions if portion.layer == 0)
    assert experts == (layers > 2)


def test_an_arm_that_trains_from_the_bottom_has_no_prefix(tmp_path: Path) -> None:
    assert prefix_cost(foreseen(tmp_path), "full", None) is None


def test_a_fill_reads_the_layers_once_and_computes_every_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Rates:
        read: float = 1000.0
        write: float = 500.0

    monkeypatch.setattr(bottom, "measured_rates", Rates)
    prepared = foreseen(tmp_path, "training.prefix_cache.fill=always", "windows.order=random", "retention=none")
    costs = {"full": None, "low": PrefixCost(0.5, 2.0, 1024), "high": PrefixCost(2.0, 8.0, 1024)}
    found = fill_estimate(prepared, costs, 10, 1e6)
    windows = 10 * 2 * 2 + 4  # steps, seeds, windows of a step; those held out
    assert found.windows == windows
    row = 1024 + RECORD_BYTES
    layer = 4 * sum(value.numel() for value in decoder_stack(prepared.model)[1][0].parameters())
    through_the_disk = windows * row * 4 * (1 / 1000.0 + 1 / 500.0)
    assert found.seconds == pytest.approx(4 * layer / 1e6 + 8.0 + windows * 2.0 + through_the_disk)
    assert found.rows_bytes == windows * row * 2  # below layer 1 and below layer 4
    assert found.passing_bytes == windows * row * 2
    one_layer = fill_estimate(prepared, {"low": PrefixCost(0.5, 2.0, 1024)}, 10, 1e6)
    assert one_layer.passing_bytes == 0  # nothing stands between two layers


def test_a_fill_has_the_windows_of_a_race_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = ("training.prefix_cache.fill=always", "retention=none", "training.learning_rate=best", "training.steps=3")
    prepared = foreseen(tmp_path, *changed)
    assert prepared.corpus.race_windows
    found = fill_estimate(prepared, {"high": PrefixCost(2.0, 8.0, 1024)}, 3, 1e6)
    assert found.windows == len(windows_to_fill(prepared))


def test_where_rows_come_as_they_are_asked_for_nothing_is_filled(tmp_path: Path) -> None:
    assert fill_estimate(foreseen(tmp_path), {"high": PrefixCost(2.0, 8.0, 1024)}, 10, 1e6) is NOTHING_FILLED


def test_the_largest_file_is_read_for_the_rate_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"1" * 100)
    large.write_bytes(b"2" * 5000)
    readings = iter([10.0, 12.0])
    monkeypatch.setattr(bottom, "time", SimpleNamespace(perf_counter=lambda: next(readings)))
    monkeypatch.setattr(bottom, "READ_BYTES", 3000)
    assert read_rate([small, large]) == 1500.0
