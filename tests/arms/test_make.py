"""Arms of an experiment share what they freeze, and the engine's settings change nothing but what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from frostline.arms import untouched
from frostline.arms.make import alone, make_arm, shared_parts
from frostline.arms.prepared import Prepared, prepare
from frostline.errors import RecipeError
from frostline.recipe import load_recipe, variants_of
from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment


def prepared_from(recipe_file: Path, *overrides: str) -> Prepared:
    (variant,) = variants_of(load_recipe(recipe_file, overrides))
    return prepare(variant, recipe_file.parent / "cache", say=lambda sentence: None)


def arms_of(run_folder: Path) -> dict[str, list[dict[str, object]]]:
    """Journals of the arms: what the engine may not change."""
    return {name: lines for name, lines in journal_without_clock(run_folder).items() if name != "run.jsonl"}


def test_arms_share_the_memory_of_what_none_of_them_trains(tmp_path: Path) -> None:
    prepared = prepared_from(write_experiment(tmp_path), "arms.last={train: [attn.o@3]}")
    with shared_parts(prepared, None) as sharing:
        first, second = make_arm(sharing, sharing.arms["freeze"], 0), make_arm(sharing, sharing.arms["last"], 0)
    addresses = [
        {name: parameter.data_ptr() for name, parameter in arm.model.named_parameters()} for arm in (first, second)
    ]
    base = {name: parameter.data_ptr() for name, parameter in prepared.model.named_parameters()}
    shared = {name for name in base if addresses[0][name] == addresses[1][name] == base[name]}
    own = {name for name in base if addresses[0][name] != base[name]}
    assert own == {f"model.layers.{layer}.self_attn.{role}_proj.weight" for layer in (2, 3) for role in "qkv"}
    assert len(shared) == len(base) - len(own) - 1


@pytest.mark.parametrize(("precision", "questions"), [("fp32", 2), ("bf16", 3)])
def test_what_is_tried_on_the_model_is_tried_once_for_arms_that_begin_as_the_same_bits(
    precision: str, questions: int, tmp_path: Path
) -> None:
    arms = {"attention": {"train": ["attn@50%:"]}, "mlp": {"train": ["mlp@50%:"]}, "last": {"train": ["mlp@3"]}}
    prepared = prepared_from(write_experiment(tmp_path, arms=arms), f"training.precision={precision}")
    with shared_parts(prepared, None) as sharing:
        for name in arms:
            make_arm(sharing, sharing.arms[name], 0)
    assert sharing.shared is not None
    assert len(sharing.shared.fits) == questions, "in bf16, each holds other frozen matrices in other bits"


@pytest.mark.parametrize("order", ["epochs", "random"])
def test_the_prefix_cache_has_no_influence_on_any_record(tmp_path: Path, order: str) -> None:
    recipe = write_experiment(tmp_path)
    plain, *others = (
        arms_of(
            run_tiny(
                recipe,
                tmp_path / use,
                (f"windows.order={order}", "training.steps=8", f"training.prefix_cache.use={use}"),
            ).run_folder
        )
        for use in ("never", "auto", "always")
    )
    assert others == [plain, plain]


def test_the_engine_gives_the_records_of_the_reference_loop(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, seeds=[0])
    fast = arms_of(run_tiny(recipe, tmp_path / "fast").run_folder)
    plain = arms_of(run_tiny(recipe, tmp_path / "plain", ("training.engine=reference",)).run_folder)
    assert fast.keys() == plain.keys()
    for name, lines in fast.items():
        for own, others in zip(lines, plain[name], strict=True):
            # The step's loss sums its tokens in another order, and an evaluation begins at the frost line; everything
            # else has the same bits.
            for rounded in ("loss_nats", "window_losses", "class_loss_sums"):
                reported = own.pop(rounded, 0), others.pop(rounded, 0)
                assert np.array(reported[0]) == pytest.approx(np.array(reported[1]), rel=1e-5)
            assert own == others


def test_stored_prefixes_serve_the_next_run(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, seeds=[0])
    always = ("training.prefix_cache.use=always",)
    first = run_tiny(recipe, tmp_path / "first", always).run_folder
    (rows,) = (tmp_path / "cache" / "prefixes").rglob("*.rows")
    written = rows.read_bytes()
    second = run_tiny(recipe, tmp_path / "second", always).run_folder
    assert arms_of(second) == arms_of(first)
    assert rows.read_bytes() == written  # nothing was computed again, and nothing added


def test_checkpointing_changes_no_record(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, seeds=[0])
    plain = run_tiny(recipe, tmp_path / "plain").run_folder
    found = run_tiny(recipe, tmp_path / "run", ("training.checkpointing=true",)).run_folder
    assert arms_of(found) == arms_of(plain)


@pytest.mark.parametrize("frozen_weights", ["exact", "int8"])
def test_a_saved_model_has_the_base_models_frozen_weights_whatever_they_were_held_in(
    tmp_path: Path, frozen_weights: str
) -> None:
    recipe = write_experiment(tmp_path, seeds=[0], save=["freeze"])
    settings = (f"training.frozen_weights={frozen_weights}", "training.precision=bf16")
    run_folder = run_tiny(recipe, tmp_path / "run", settings).run_folder
    saved = AutoModelForCausalLM.from_pretrained(run_folder / "checkpoints" / "freeze").state_dict()
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "model").state_dict()
    changed = {name for name, value in saved.items() if not torch.equal(value, base[name])}
    assert changed == {f"model.layers.{layer}.self_attn.{role}_proj.weight" for layer in (2, 3) for role in "qkv"}


def test_an_arm_alone_keeps_prefixes_at_its_own_depth_only(tmp_path: Path) -> None:
    prepared = prepared_from(write_experiment(tmp_path), "arms.last={train: [attn.o@3]}")
    with shared_parts(prepared, None) as sharing:
        assert sharing.shared is not None
        own = alone(sharing, sharing.arms["last"]).shared
    assert sharing.shared.depths == (2, 3)
    assert own is not None
    assert own.depths == (3,)
    assert own.frozen is sharing.shared.frozen


def test_a_machine_that_cannot_compile_says_so_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(device_type: str) -> None:
        raise RecipeError(f"training.compile: nothing can be compiled on {device_type}.")

    monkeypatch.setattr(untouched, "require_compiler", no_compiler)
    recipe = write_experiment(tmp_path)
    with pytest.raises(RecipeError, match=r"training\.compile"):
        run_tiny(recipe, tmp_path / "run", ("training.compile=true",))
    assert not (tmp_path / "run").exists()


def test_an_arm_is_made_of_the_plan_that_was_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with shared_parts(prepared_from(write_experiment(tmp_path)), None) as sharing:

        def look_again(model: object) -> None:
            raise AssertionError("the model was probed again")

        monkeypatch.setattr("frostline.plans.resolve.map_model", look_again)
        for seed in (0, 1):
            for planned in sharing.arms.values():
                assert make_arm(sharing, planned, seed).applied.resolved == planned.resolved
