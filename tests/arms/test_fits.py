"""An arm that certainly does not fit is refused before anything is loaded, with a plan that does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from frostline.arms import fits, make_arm, prepare, saved_without_memory
from frostline.arms.fits import require_fitting, too_large
from frostline.engine import saved_bytes
from frostline.errors import RecipeError, TrainingError
from frostline.recipe import load_recipe, variants_of
from tests.builders.experiments import run_tiny, write_experiment
from tests.builders.models import tiny_model

LAYER = sum(parameter.numel() for parameter in tiny_model("llama").model.layers[0].parameters())
WHOLE = sum(parameter.numel() for parameter in tiny_model("llama").parameters())
UNWATCHED = "measures.weight_change_every=0"
ONE_ARM = "arms={only: {train: [all]}}"


def require(
    folder: Path,
    free: int,
    monkeypatch: pytest.MonkeyPatch,
    *overrides: str,
    family: str = "llama",
    counted: float = 0.0,
) -> None:
    """`counted`: the share of what is counted that is taken for certain, beside what is so to the byte."""
    recipe = load_recipe(write_experiment(folder, family=family), [UNWATCHED, *overrides])
    monkeypatch.setattr(fits, "free_memory_bytes", lambda: free)
    monkeypatch.setattr(fits, "CERTAIN", counted)
    with recipe.locating_errors():
        require_fitting(recipe, folder / "cache")


def test_weights_gradients_and_moments_of_what_trains_are_what_is_certain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(tmp_path, 16 * WHOLE, monkeypatch, ONE_ARM)
    with pytest.raises(TrainingError, match=f"arms.only': the {WHOLE:,} weights that it trains take"):
        require(tmp_path, 16 * WHOLE - 1, monkeypatch, ONE_ARM)


def test_what_no_model_could_read_is_told_before_what_memory_it_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (variant,) = variants_of(load_recipe(write_experiment(tmp_path), [UNWATCHED, "windows.length=100000"]))
    monkeypatch.setattr(fits, "free_memory_bytes", lambda: 1)
    with pytest.raises(RecipeError, match="100000 tokens are more than the 64 that the model"):
        prepare(variant, tmp_path / "cache", say=lambda _: None)


def test_what_is_watched_is_there_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = ("measures.weight_change_every=1", "measures.watch=['all@0']")
    require(tmp_path, 16 * WHOLE + 4 * LAYER, monkeypatch, ONE_ARM, *watched)
    with pytest.raises(TrainingError, match="moments and what is watched of them"):
        require(tmp_path, 16 * WHOLE + 4 * LAYER - 1, monkeypatch, ONE_ARM, *watched)
    require(tmp_path, 16 * WHOLE + 4 * LAYER, monkeypatch, ONE_ARM, *watched[:1], "measures.watch=['name:nothing*']")


@pytest.mark.parametrize(
    "plan", ["{train: ['all@-1:']}", "{train: ['attn.qkv']}", "{lora: {rank: 2}}", "{train: ['name:*q_proj*']}"]
)
def test_a_plan_that_trains_less_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: str) -> None:
    require(tmp_path, 16 * LAYER + 10_000, monkeypatch, f"arms={{only: {plan}}}")


def test_the_hint_names_the_plan_of_the_most_layers_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError) as caught:
        require(tmp_path, 16 * 2 * LAYER + 10, monkeypatch, ONE_ARM)
    assert "'all@-2:'" in str(caught.value)
    assert len(str(caught.value)) < 300
    with pytest.raises(TrainingError, match="attention alone"):
        require(tmp_path, 1000, monkeypatch, ONE_ARM)


def test_the_reference_loop_holds_a_copy_of_the_whole_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = ("arms={only: {train: ['all@-1:']}}", "training.engine=reference")
    with pytest.raises(TrainingError):
        require(tmp_path, 16 * LAYER + 10, monkeypatch, *few)


@pytest.mark.parametrize("family", ["gpt2", "bloom", "phi3"])
def test_what_names_do_not_tell_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    require(tmp_path, 10, monkeypatch, "arms={only: {train: ['attn.q']}}", family=family)
    with pytest.raises(TrainingError):
        require(tmp_path, 10, monkeypatch, ONE_ARM, family=family)


def test_a_run_is_refused_before_anything_is_loaded_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write_experiment(tmp_path)
    monkeypatch.setattr(fits, "free_memory_bytes", lambda: 1000)
    monkeypatch.setattr("frostline.arms.untouched.load_model", lambda *args, **kwargs: pytest.fail("loaded"))
    with pytest.raises(TrainingError, match=r"recipe\.yaml"):
        run_tiny(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


LARGE = ("training.batch=64", "windows.length=32", "arms={only: {train: ['attn.qkv']}}")
"""Steps that need far more than what trains."""


def needed(folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> int:
    """The least free memory with which it is not refused, within a thousandth."""
    low, high = 1000, 1 << 32
    while high - low > low // 1000:
        middle = (low + high) // 2
        try:
            require(folder, middle, monkeypatch, *overrides, counted=1.0)
            high = middle
        except TrainingError:
            low = middle
    return high


def test_what_a_step_keeps_counts_and_the_hint_names_the_setting_with_which_it_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = needed(tmp_path, monkeypatch, *LARGE)
    with pytest.raises(
        TrainingError, match=r"with steps of 64 x 32 tokens it needs .*Use training\.checkpointing=true"
    ):
        require(tmp_path, whole * 98 // 100, monkeypatch, *LARGE, counted=1.0)
    require(tmp_path, whole * 98 // 100, monkeypatch, *LARGE, "training.checkpointing=true", counted=1.0)
    with pytest.raises(TrainingError, match=r"Use training\.batch=1 and more training\.accumulation"):
        require(tmp_path, whole // 4, monkeypatch, *LARGE, counted=1.0)
    require(tmp_path, whole // 4, monkeypatch, *LARGE, "training.batch=1", counted=1.0)


def test_a_count_may_be_wrong_by_what_it_usually_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = needed(tmp_path, monkeypatch, *LARGE)
    require(tmp_path, whole * 86 // 100, monkeypatch, *LARGE, counted=0.85)
    with pytest.raises(TrainingError):
        require(tmp_path, whole * 84 // 100, monkeypatch, *LARGE, counted=0.85)


def test_rows_of_a_table_may_be_short_so_that_their_steps_are_not_certain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = needed(tmp_path, monkeypatch, *LARGE)
    assert needed(tmp_path, monkeypatch, *LARGE, "corpus.format=jsonl") < whole * 9 // 10


@pytest.mark.parametrize(
    ("family", "least"),
    [("llama", 0.9), ("gpt2", 0.9), ("mistral", 0.8), ("gpt_neox", 0.5), ("gemma2", 0.5), ("bloom", 0.5)],
)
@pytest.mark.parametrize("plan", ["all", "attn.qkv@-2:"])
def test_what_a_step_keeps_is_known_without_weights(tmp_path: Path, family: str, least: float, plan: str) -> None:
    """Kernels keep more for attention in some families: a count that refuses is not to be above what is kept."""
    (variant,) = variants_of(
        load_recipe(write_experiment(tmp_path, family=family), [f"arms={{a: {{train: ['{plan}']}}}}"])
    )
    prepared = prepare(variant, tmp_path / "cache", say=lambda sentence: None)
    arm = make_arm(prepared, prepared.arms["a"], 0)
    measured = saved_bytes(arm, prepared.corpus.batch(0, 0, prepared.recipe.training.batch))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(prepared.model.config)
    resolved, length = prepared.arms["a"].resolved, prepared.recipe.windows.length
    counted = saved_without_memory(model, resolved, prepared.recipe.training, length, "fp32")
    assert least * measured < counted < 1.05 * measured


def test_an_arm_is_too_large_for_a_device_from_the_byte_on_that_is_not_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(write_experiment(tmp_path), [UNWATCHED])
    found = {}
    for name in recipe.arms:
        monkeypatch.setattr(fits, "free_memory_bytes", lambda: 1)
        alone = recipe.model_copy(update={"arms": {name: recipe.arms[name]}, "baseline": name})
        large = too_large(alone, tmp_path / "cache")
        assert large is not None
        assert (large.arm, large.free_bytes) == (name, 1)
        found[name] = large.needed_bytes
        monkeypatch.setattr(fits, "free_memory_bytes", lambda needed=found[name]: needed)
        assert too_large(alone, tmp_path / "cache") is None
        monkeypatch.setattr(fits, "free_memory_bytes", lambda needed=found[name]: needed - 1)
        assert too_large(alone, tmp_path / "cache") is not None
    assert found["freeze"] < found["reversed"] < found["full"]
    assert found["full"] > 16 * WHOLE


def test_where_there_is_far_more_memory_nothing_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits, "free_memory_bytes", lambda: 10**12)
    assert too_large(load_recipe(write_experiment(tmp_path)), tmp_path / "cache") is None
