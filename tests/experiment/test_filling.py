"""A run that fills the prefix cache first has the records of one that does not, and says what the fill took."""

from __future__ import annotations

import sys
from mmap import PAGESIZE
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from frostline.arms import fill, prepare, shared_parts, windows_to_fill
from frostline.engine import FilledLayer, PrefixStore
from frostline.errors import CacheError, PlanError, RecipeError
from frostline.plans import decoder_stack
from frostline.recipe import load_recipe, variants_of
from frostline.run_folder import read_journal
from frostline.stats import summarise
from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment
from tests.builders.filed import write_both
from tests.builders.models import tiny_model

ALWAYS = ("training.prefix_cache.fill=always", "measures.sampling.prompts=0", "training.steps=4")
NEVER = ("training.prefix_cache.fill=never", *ALWAYS[1:])
ARMS = {"full": {"train": "all"}, "freeze": {"train": ["attn.qkv@50%:"]}}


def records(run_folder: Path, kind: str) -> list[dict[str, object]]:
    return [line for line in read_journal(run_folder) if line["kind"] == kind]


def arms_of(run_folder: Path) -> dict[str, list[dict[str, object]]]:
    return {name: lines for name, lines in journal_without_clock(run_folder).items() if name != "run.jsonl"}


def spent(run_folder: Path, arm: str) -> float:
    """Seconds of all steps of one arm, which has no untimed ones."""
    return sum(float(str(line["seconds"])) for line in records(run_folder, "StepTaken") if line["arm"] == arm)


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Depths of all rows that stores are given."""
    depths: list[int] = []
    own = PrefixStore.put

    def noted(self: PrefixStore, window: bytes, depth: int, row: Tensor) -> None:
        depths.append(depth)
        own(self, window, depth, row)

    monkeypatch.setattr(PrefixStore, "put", noted)
    return depths


@pytest.mark.parametrize(("order", "precision"), [("epochs", "bf16"), ("random", "fp32")])
def test_a_filled_run_has_the_records_of_one_that_computes_rows_as_it_goes(
    tmp_path: Path, order: str, precision: str
) -> None:
    same = (f"windows.order={order}", f"training.precision={precision}", "arms.last={train: [attn.o@3]}")
    recipe = write_experiment(tmp_path, arms=ARMS, seeds=[0, 1])
    plain = run_tiny(recipe, tmp_path / "plain", (*same, *NEVER)).run_folder
    # In a cache of its own: rows of held-out windows are kept for the evaluations of any run.
    cache = tmp_path / "cache_of_filled"
    filled = run_tiny(recipe, tmp_path / "filled", (*same, *ALWAYS), cache=cache).run_folder
    assert arms_of(filled) == arms_of(plain)
    assert records(plain, "LayerFilled") == []
    layers = records(filled, "LayerFilled")
    assert [layer["layer"] for layer in layers] == [0, 1, 2]
    assert all(layer["computed_windows"] == layer["windows"] for layer in layers)
    assert all(float(str(layer["seconds"])) > 0 for layer in layers)
    assert not list(cache.rglob("*passing.rows"))


def test_after_a_fill_no_row_is_computed_by_a_step_or_an_evaluation(tmp_path: Path, put: list[int]) -> None:
    overrides = (*ALWAYS, "retention=none")
    recipe = load_recipe(write_experiment(tmp_path, arms=ARMS, seeds=[3, 4]), overrides)
    (variant,) = variants_of(recipe)
    with shared_parts(prepare(variant, tmp_path / "cache", say=lambda text: None), tmp_path / "cache") as sharing:
        assert sharing.shared is not None
        assert all(isinstance(layer, FilledLayer) for layer in fill(sharing))
        corpus = sharing.corpus
        batches = [corpus.batch(seed, step, 2) for seed in (3, 4) for step in range(4)]
        batches += [*corpus.held_out_batches(8), *corpus.trained_sample(corpus.held_out_windows, 8)]
        known = {window.key for window in windows_to_fill(sharing)}
        assert len(known) == len({window for batch in batches for window in batch.window_ids})
        assert all(sharing.shared.store.holds(key, 2) for key in known)
    assert put == [2] * len(known)
    run_tiny(tmp_path / "recipe.yaml", tmp_path / "run", overrides)
    layers = records(tmp_path / "run", "LayerFilled")
    assert [layer["computed_windows"] for layer in layers] == [0, 0], "an earlier run has filled them"
    assert len(put) == len(known)


def test_the_rows_of_a_race_and_of_a_retention_corpus_are_filled_too(tmp_path: Path, put: list[int]) -> None:
    race = ("training.learning_rate=best", "training.rates=[0.003, 0.01, 0.03]", "windows.race=4")
    recipe = write_experiment(tmp_path, arms=ARMS, seeds=[0], retention={"source": "text.txt"})
    plain = run_tiny(recipe, tmp_path / "plain", (*race, *NEVER)).run_folder
    put.clear()
    filled = run_tiny(recipe, tmp_path / "filled", (*race, *ALWAYS), cache=tmp_path / "own cache").run_folder
    assert len(put) == records(filled, "LayerFilled")[0]["windows"], "each once, by the fill"
    assert arms_of(filled) == arms_of(plain)
    order = [line["kind"] for line in read_journal(filled) if line["kind"] in ("LayerFilled", "RateTried")]
    assert order[:2] == ["LayerFilled", "LayerFilled"]


def test_arms_that_are_all_taken_from_an_earlier_run_need_no_fill(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, arms=ARMS, seeds=[0])
    run_tiny(recipe, tmp_path / "first", ALWAYS, fresh=False)
    second = run_tiny(recipe, tmp_path / "second", ALWAYS, fresh=False).run_folder
    assert records(second, "LayerFilled") == []


@pytest.mark.skipif(sys.platform != "linux", reason="pages are let go of on Linux alone")
def test_layers_leave_memory_once_their_rows_are_there(tmp_path: Path) -> None:
    narrow, _ = write_both(tmp_path, tiny_model("llama", hidden_size=256, intermediate_size=512))
    recipe = load_recipe(write_experiment(tmp_path, arms=ARMS, seeds=[0], model={"source": str(narrow)}), ALWAYS)
    (variant,) = variants_of(recipe)
    with shared_parts(prepare(variant, tmp_path / "cache", say=lambda text: None), None) as sharing:
        list(fill(sharing))
        _, layers = decoder_stack(sharing.model)
        assert [_pages_in_memory(layer) for layer in layers[:2]] == [0, 0]
        next(layers[0].parameters()).sum()
        assert _pages_in_memory(layers[0]) > 0


def _pages_in_memory(layer: nn.Module) -> int:
    """Whole pages of the layer's matrices that the process holds, as the system has them (`proc(5)`, pagemap)."""
    held = 0
    with Path("/proc/self/pagemap").open("rb") as pagemap:
        for weight in (parameter for parameter in layer.parameters() if parameter.dtype == torch.bfloat16):
            first, end = -(-weight.data_ptr() // PAGESIZE), (weight.data_ptr() + weight.nbytes) // PAGESIZE
            pagemap.seek(8 * first)
            entries = np.frombuffer(pagemap.read(8 * (end - first)), dtype="<u8")
            held += int((entries >> np.uint64(63)).sum())
    return held


def test_a_disk_too_small_is_told_before_there_is_a_run_folder(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, arms=ARMS, seeds=[0])
    small = (*ALWAYS, "training.prefix_cache.disk_mb=0", "training.prefix_cache.memory_mb=0")
    with pytest.raises(CacheError, match=r"need .* GB, and there is room for 0 GB"):
        run_tiny(recipe, tmp_path / "run", small)
    assert not (tmp_path / "run").exists()


def test_a_model_whose_rows_cannot_be_filled_is_told_before_there_is_a_run_folder(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, arms=ARMS, seeds=[0])
    with pytest.raises(PlanError, match="draws random numbers below the frost line") as told:
        run_tiny(recipe, tmp_path / "run", (*ALWAYS, "training.dropout=0.1"))
    assert not (tmp_path / "run").exists()
    assert len(str(told.value)) < 300


def test_a_recipe_cannot_fill_what_it_does_not_use(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, arms=ARMS)
    with pytest.raises(RecipeError, match="use: never"):
        load_recipe(recipe, (*ALWAYS, "training.prefix_cache.use=never"))


def test_time_in_all_has_the_share_of_the_fill_of_each_arm_that_starts_from_it(tmp_path: Path) -> None:
    arms = {**ARMS, "last": {"train": ["attn.o@3"]}}
    recipe = write_experiment(tmp_path, arms=arms, seeds=[0, 1])
    run_folder = run_tiny(recipe, tmp_path / "run", (*ALWAYS, "training.untimed_steps=0")).run_folder
    (variant,) = summarise(run_folder).variants
    seconds = [float(str(line["seconds"])) for line in records(run_folder, "LayerFilled")]
    for arm, layers in {"full": 0, "freeze": 2, "last": 3}.items():
        share = sum(seconds[:layers]) / 2
        assert (variant.arms[arm].fill_seconds or 0.0) == pytest.approx(share)
        expected = spent(run_folder, arm) / 2 + share
        assert variant.arms[arm].training_seconds.value == pytest.approx(expected)


def test_an_arm_that_is_taken_from_an_earlier_run_brings_its_share_of_that_runs_fill(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, arms=ARMS, seeds=[0, 1])
    variants = []
    for name in ("first", "second"):
        run_folder = run_tiny(recipe, tmp_path / name, (*ALWAYS, "training.untimed_steps=0"), fresh=False).run_folder
        variants += summarise(run_folder).variants
    first, second = (variant.arms["freeze"] for variant in variants)
    assert records(tmp_path / "second", "LayerFilled") == []
    assert first.fill_seconds is not None
    assert second.fill_seconds == pytest.approx(first.fill_seconds)
    assert second.training_seconds.value == pytest.approx(first.training_seconds.value)
