"""An estimate comes before anything runs, and says what does not fit."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch
from transformers import PreTrainedModel

from frostline.arms import fits, untouched
from frostline.arms.excerpt import cut_model
from frostline.arms.peak_memory import measure_peak_memory
from frostline.arms.prepared import Prepared, prepare
from frostline.errors import TrainingError
from frostline.forecast import estimate as estimate_module
from frostline.forecast.calibration import calibrate_arm
from frostline.forecast.cut import StepParts, kinds_of_layers
from frostline.forecast.estimate import RunEstimate, estimate_recipe
from frostline.loading.pretrained import load_model, parameter_count
from frostline.plans import Plan
from frostline.recipe import load_recipe, variants_of
from tests.builders.experiments import write_experiment
from tests.builders.families import tiny_of_any_family
from tests.builders.models import FAMILIES, tiny_model


def estimated(folder: Path, *overrides: str) -> RunEstimate:
    recipe = load_recipe(write_experiment(folder), overrides)
    (found,) = estimate_recipe(recipe, folder / "cache", say=lambda sentence: None)
    return found


def prepared_from(folder: Path, *overrides: str) -> Prepared:
    recipe = load_recipe(write_experiment(folder), overrides)
    (variant,) = variants_of(recipe)
    return prepare(variant, folder / "cache", say=lambda sentence: None)


def test_every_arm_has_time_memory_and_saving(tmp_path: Path) -> None:
    found = estimated(tmp_path, "save=[freeze]")
    assert [arm.arm for arm in found.arms] == ["full", "freeze", "reversed"]
    full, freeze, _ = found.arms
    assert full.saving is None
    assert freeze.saving is not None
    assert freeze.optimizer_bytes < full.optimizer_bytes
    assert freeze.saved_model_bytes == 4 * sum(p.numel() for p in tiny_model("llama").parameters())
    assert all(arm.step_seconds > 0 and arm.peak_bytes > 1e8 for arm in found.arms)
    assert found.training_seconds == pytest.approx(2 * sum(arm.total_seconds for arm in found.arms))
    assert found.seconds > found.training_seconds
    assert found.warnings == []
    assert not any(path.name == "arms" for path in (tmp_path / "cache").iterdir())  # nothing was trained


def test_a_stored_prefix_is_counted_once_for_each_window(tmp_path: Path) -> None:
    often = ("training.prefix_cache.use=always", "training.steps=400")
    _, freeze, _ = estimated(tmp_path, *often).arms
    assert freeze.first_visit_seconds is not None
    windows = prepared_from(tmp_path, *often).corpus.windows
    extra = (freeze.first_visit_seconds - freeze.step_seconds) * windows / 2
    assert freeze.total_seconds == pytest.approx(400 * freeze.step_seconds + extra)


@pytest.mark.parametrize("arm", ["{lora: {rank: 2}}", "{train: [norm, head]}", "{train: [name:*k_proj*]}"])
def test_every_kind_of_plan_can_be_estimated(tmp_path: Path, arm: str) -> None:
    found = estimated(tmp_path, f"arms.freeze={arm}")
    assert found.arms[1].step_seconds > 0


@pytest.mark.parametrize("plan", ["train: [attn.qkv@75%:]", "lora: {targets: [attn.q@75%:]}", "train: [head]"])
def test_every_kind_of_plan_can_be_the_baseline(tmp_path: Path, plan: str) -> None:
    found = estimated(tmp_path, f"arms={{upper: {{{plan}}}, norms: {{train: [norm]}}}}")
    assert (found.baseline, found.arms[0].saving) == ("upper", None)
    assert found.seconds > found.training_seconds > 0


def test_layers_never_take_less_than_nothing_however_busy_the_machine_is() -> None:
    one_layer, two_layers = StepParts(2.0, 0.5, 100), StepParts(1.5, 0.75, 180)
    assert two_layers.beyond(one_layer) == StepParts(0.0, 0.25, 80)


def test_a_head_that_is_tied_to_the_embeddings_trains_with_them(tmp_path: Path) -> None:
    recipe = load_recipe(write_experiment(tmp_path, family="gpt2"))
    (found,) = estimate_recipe(recipe, tmp_path / "cache", say=lambda sentence: None)
    assert [arm.arm for arm in found.arms] == ["full", "freeze", "reversed"]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_can_be_cut_down_and_still_computes(family: str) -> None:
    model = tiny_model(family)
    layers = Plan.parse("train: [all]").resolve(model).layers
    cut = cut_model(model, [0, layers - 1, layers - 1])
    assert Plan.parse("train: [all]").resolve(cut).layers == 3
    tokens = torch.arange(12).reshape(2, 6)
    assert torch.isfinite(cut(input_ids=tokens).logits).all()
    assert Plan.parse("train: [all]").resolve(model).layers == layers


def test_a_model_cut_to_all_its_layers_is_the_model() -> None:
    model = tiny_model("llama").eval()
    tokens = torch.arange(12).reshape(2, 6)
    layers = len(kinds_of_layers(Plan.parse("train: [all]").resolve(model)))
    cut = cut_model(model, list(range(layers))).eval()
    assert torch.equal(cut(input_ids=tokens).logits, model(input_ids=tokens).logits)


def test_layers_above_the_frost_line_are_sorted_by_what_trains_in_them(tmp_path: Path) -> None:
    prepared = prepared_from(tmp_path, "arms.mixed={train: ['attn.q@1:', 'mlp@3']}")
    kinds = kinds_of_layers(prepared.arms["mixed"].resolved)
    assert kinds == [frozenset({"attn.q"})] * 2 + [frozenset({"attn.q", "mlp.gate", "mlp.up", "mlp.down"})]


def test_what_a_pass_keeps_grows_with_the_layers_and_with_the_windows(tmp_path: Path) -> None:
    prepared = prepared_from(tmp_path)
    small, large = (prepared.corpus.batch(0, 0, size) for size in (2, 8))
    deep = calibrate_arm(prepared, "full", small, 10**9).saved_bytes
    assert calibrate_arm(prepared, "freeze", small, 10**9).saved_bytes < deep
    assert calibrate_arm(prepared, "full", large, 10**9).saved_bytes > 2 * deep


def test_weights_that_cannot_fit_are_told_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fits, "free_memory_bytes", lambda: 1000)
    monkeypatch.setattr(untouched, "load_model", lambda *args, **kwargs: pytest.fail("something was loaded"))
    told = r"'arms\.full': the [\d,]+ weights that it trains take \d+ kB with gradients.* 1 kB of memory"
    with pytest.raises(TrainingError, match=told):
        estimated(tmp_path)


def test_an_arm_that_cannot_fit_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate_module, "free_bytes", lambda device: 50_000_000)
    warnings = estimated(tmp_path).warnings
    assert len(warnings) == 3
    assert all("training.batch" in warning for warning in warnings)


def test_the_number_of_weights_comes_from_the_configuration_alone(tmp_path: Path) -> None:
    recipe = load_recipe(write_experiment(tmp_path))
    (tmp_path / "model" / "model.safetensors").rename(tmp_path / "weights")
    counted = parameter_count(recipe.model, tmp_path / "cache")
    (tmp_path / "weights").rename(tmp_path / "model" / "model.safetensors")
    assert counted == sum(p.numel() for p in load_model(recipe.model, tmp_path / "cache").parameters())


@pytest.mark.as_shipped
def test_memory_of_a_tiny_model_is_that_of_a_process_with_its_libraries(tmp_path: Path) -> None:
    if psutil.virtual_memory().available < 4e9:
        pytest.skip("too little memory to measure in")
    found = estimated(tmp_path)
    measured = measure_peak_memory(load_recipe(tmp_path / "recipe.yaml"), "full", tmp_path / "cache").peak_bytes
    assert found.arms[0].peak_bytes == pytest.approx(measured, rel=0.2)


def test_layers_are_cut_from_a_model_whose_kinds_of_layers_follow_from_their_number() -> None:
    model = tiny_of_any_family("mamba", num_hidden_layers=4)
    assert isinstance(model, PreTrainedModel)
    cut = cut_model(model, [0, 3])
    assert cut.config.num_hidden_layers == 2
    assert cut(input_ids=torch.tensor([[1, 2, 3]]), use_cache=False).logits.isfinite().all()
