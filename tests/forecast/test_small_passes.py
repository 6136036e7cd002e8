"""A step that is too large to be taken is drawn on small passes: what a pass takes, and each token, each layer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from frostline.arms import Prepared, foresee
from frostline.arms import excerpt as excerpt_module
from frostline.corpus import Batch
from frostline.engine import Arm, PhaseSeconds
from frostline.forecast import calibration, estimate, small_passes
from frostline.forecast import head as head_module
from frostline.forecast.calibration import calibrate_arm
from frostline.forecast.head import HeadCost
from frostline.forecast.small_passes import SmallPasses, update_seconds
from frostline.recipe import TrainingSettings, load_recipe, variants_of
from tests.builders.experiments import write_experiment
from tests.builders.models import HIDDEN, VOCABULARY

ONCE, OF_A_LAYER, OF_A_TOKEN, OF_A_TOKEN_IN_A_LAYER = 3.0, 5.0, 0.25, 0.5
SAVED, SAVED_IN_A_LAYER = 10, 40
"""Bytes that a token leaves for the backward pass."""


def seconds_of(layers: int, tokens: int) -> float:
    return ONCE + OF_A_LAYER * layers + tokens * (OF_A_TOKEN + OF_A_TOKEN_IN_A_LAYER * layers)


def saved_of(layers: int, tokens: int) -> int:
    return tokens * (SAVED + SAVED_IN_A_LAYER * layers)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Layers and tokens of every pass, whose seconds and bytes are said to be those of `seconds_of` and `saved_of`."""
    taken: list[tuple[int, int]] = []

    def layers_of(arm: Arm) -> int:
        return int(arm.model.config.get_text_config().num_hidden_layers)

    def taken_pass(arm: Arm, batch: Batch) -> PhaseSeconds:
        taken.append((layers_of(arm), batch.input_ids.size))
        seconds = seconds_of(*taken[-1])
        return PhaseSeconds(0.0, 0.25 * seconds, 0.75 * seconds, 0.0)

    monkeypatch.setattr(small_passes, "_pass", taken_pass)
    monkeypatch.setattr(small_passes, "saved_bytes", lambda arm, batch: saved_of(layers_of(arm), batch.input_ids.size))
    return taken


def foreseen(folder: Path, *overrides: str, family: str = "llama", layers: int = 4, **changes: object) -> Prepared:
    (variant,) = variants_of(load_recipe(write_experiment(folder, family, layers=layers, **changes), overrides))
    return foresee(variant, folder / "cache", say=lambda sentence: None)


def windows(prepared: Prepared, count: int) -> Batch:
    return prepared.corpus.batch(0, 0, count)


def test_a_pass_over_all_tokens_follows_from_two_over_fewer(tmp_path: Path, passes: list[tuple[int, int]]) -> None:
    prepared = foreseen(tmp_path)
    found = SmallPasses(128, None).measure(prepared, "full", windows(prepared, 16), [0, 3])
    assert found.pass_seconds == pytest.approx(seconds_of(2, 256))
    assert found.saved_bytes == saved_of(2, 256)
    assert found.optimizer_seconds == 0
    assert set(passes) == {(2, 16), (2, 128)}  # whole windows of 16


def test_tokens_of_a_longer_window_take_the_products_with_those_before_them_more(
    tmp_path: Path, passes: list[tuple[int, int]]
) -> None:
    prepared = foreseen(tmp_path)
    found = SmallPasses(8, None).measure(prepared, "full", windows(prepared, 2), [0])
    layer = HIDDEN * (32 + 16 + 16 + 32) + 3 * HIDDEN * 48 + 2 * HIDDEN  # q, k, v, o; gate, up, down; two norms
    longer = (layer + 2 * 16 * HIDDEN) / (layer + 2 * 8 * HIDDEN)
    each = (seconds_of(1, 8) - seconds_of(1, 1)) / 7
    assert found.pass_seconds == pytest.approx(seconds_of(1, 1) + 31 * each * longer)
    assert found.saved_bytes == saved_of(1, 32)
    assert set(passes) == {(1, 1), (1, 8)}


@pytest.mark.parametrize(("name", "above"), [("full", 4), ("freeze", 2), ("reversed", 4)])
def test_a_step_is_one_layer_and_so_many_more_and_the_rest_of_the_head(
    name: str, above: int, tmp_path: Path, passes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "head_cost", lambda prepared, arm, rows: HeadCost(0.125, 99.0, 2.0, 1000))
    monkeypatch.setattr(calibration, "update_seconds", lambda training, values, device: float(values))
    prepared = foreseen(tmp_path)
    found = calibrate_arm(prepared, name, windows(prepared, 16), 10**9, SmallPasses(128, 24))
    assert found.pass_seconds == pytest.approx(seconds_of(above, 256) + 2.0 + 256 * 0.125)
    assert found.saved_bytes == saved_of(above, 256) + 1000
    assert found.optimizer_seconds == prepared.arms[name].resolved.trained_values


def test_arms_whose_layers_train_alike_are_measured_once(tmp_path: Path, passes: list[tuple[int, int]]) -> None:
    prepared = foreseen(tmp_path, arms={"a": {"train": ["attn@1:"]}, "b": {"train": ["attn@2:"]}})
    small, batch = SmallPasses(32, None), windows(prepared, 4)
    first = small.measure(prepared, "a", batch, [1, 3])
    count = len(passes)
    assert small.measure(prepared, "b", batch, [2, 3]) is first
    assert len(passes) == count
    small.measure(prepared, "b", batch, [2])
    assert len(passes) > count


def test_layers_of_another_make_are_measured_though_the_same_trains(
    tmp_path: Path, passes: list[tuple[int, int]]
) -> None:
    arms = {"a": {"train": ["attn"]}, "b": {"train": ["attn@2:"]}}
    prepared = foreseen(tmp_path, family="deepseek_v3", arms=arms)
    small, batch = SmallPasses(32, None), windows(prepared, 4)
    small.measure(prepared, "a", batch, [0])  # dense
    count = len(passes)
    small.measure(prepared, "b", batch, [2])  # of experts
    assert len(passes) > count


def test_a_pass_is_taken_as_it_is_and_forgets_its_gradients(tmp_path: Path) -> None:
    prepared = foreseen(tmp_path)
    before = {name: value.clone() for name, value in prepared.model.named_parameters()}
    found = SmallPasses(32, None).measure(prepared, "full", windows(prepared, 4), [0, 3])
    assert found.pass_seconds > 0
    assert found.saved_bytes > 0
    for name, value in prepared.model.named_parameters():
        assert value.grad is None
        assert torch.equal(value, before[name])


def test_small_passes_are_for_steps_beyond_what_is_timed_or_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = foreseen(tmp_path)
    batch = windows(prepared, 100)
    layer = sum(value.numel() for value in prepared.model.get_submodule("model.layers.0").parameters())
    values = 2 * layer + VOCABULARY * HIDDEN
    assert small_passes.small_passes(prepared, batch, 18 * values) is None
    for_memory = small_passes.small_passes(prepared, batch, 18 * values - 1)
    assert for_memory == SmallPasses(1600, None)  # time is no reason to leave out tokens
    monkeypatch.setitem(small_passes.LARGEST_PASS_FLOP, "cpu", 6.0 * 1600 * values - 1)
    monkeypatch.setitem(small_passes.SMALL_PASS_FLOP, "cpu", 6.0 * 200 * values)
    assert small_passes.small_passes(prepared, batch, 10**9) == SmallPasses(200, None)
    monkeypatch.setitem(small_passes.SMALL_PASS_FLOP, "cpu", 1.0)
    assert small_passes.small_passes(prepared, batch, 10**9) == SmallPasses(small_passes.FEWEST_TOKENS, None)
    assert small_passes.small_passes(prepared, windows(prepared, 101), 10**9) is not None


def test_the_update_of_many_weights_is_that_of_fewer_so_many_times(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([9.0, 3.0, 2.0, 4.0])

    class Clock:
        def __init__(self, device: torch.device) -> None:
            self.seconds = next(readings)

        def ends(self, phase: str) -> None:
            assert phase == "optimizer"

    monkeypatch.setattr(small_passes, "StepClock", Clock)
    monkeypatch.setattr(small_passes, "UPDATED_VALUES", 50)
    training = TrainingSettings.model_validate({"steps": 1, "learning_rate": 1e-3})
    assert update_seconds(training, 1000, torch.device("cpu")) == 2.0 * 20


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model is large, its vocabulary, too."""
    monkeypatch.setitem(small_passes.LARGEST_PASS_FLOP, "cpu", 1.0)
    monkeypatch.setattr(small_passes, "FEWEST_TOKENS", 16)
    monkeypatch.setitem(small_passes.SMALL_PASS_FLOP, "cpu", 1.0)
    monkeypatch.setattr(excerpt_module, "LARGE_VOCABULARY_VALUES", 1000)
    for module in (excerpt_module, small_passes, head_module):
        monkeypatch.setattr(module, "FEW_ROWS", 24)
    monkeypatch.setattr(estimate, "process_bytes", lambda recipe, cache: 10**8)


@pytest.mark.parametrize("family", ["llama", "gpt2", "deepseek_v3"])
@pytest.mark.usefixtures("large")
def test_the_estimate_of_a_large_model_says_what_was_timed(family: str, tmp_path: Path) -> None:
    recipe = load_recipe(write_experiment(tmp_path, family))
    (found,) = estimate.estimate_recipe(recipe, tmp_path / "cache", say=lambda sentence: None)
    assert found.timed.startswith(
        "Put together from passes of one and two layers, with 24 of the 97 rows of its head, over 16 of the 32 "
        "positions of a pass, and updates of 8 M weights. The file is read at "
    )
    assert all(arm.step_seconds > 0 for arm in found.arms)
    assert found.seconds > found.training_seconds > 0


@pytest.mark.usefixtures("large")
def test_windows_of_a_few_tokens_can_be_estimated_too(tmp_path: Path) -> None:
    recipe = load_recipe(write_experiment(tmp_path), ["windows.length=6", "training.batch=1"])
    (found,) = estimate.estimate_recipe(recipe, tmp_path / "cache", say=lambda sentence: None)
    assert "over 6 of the 6 positions" in found.timed
    assert found.seconds > 0
