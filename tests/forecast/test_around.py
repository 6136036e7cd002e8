"""What only reads a model is drawn on one layer and the last one, with the tokens that a small pass leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

from frostline.arms import Prepared, foresee
from frostline.forecast import around
from frostline.forecast.around import forward_cost
from frostline.forecast.head import HeadCost
from frostline.forecast.small_passes import SmallPasses
from frostline.recipe import load_recipe, variants_of
from tests.builders.experiments import VOCABULARY, write_experiment
from tests.builders.models import tiny_model
from tests.builders.tokenizers import word_tokenizer

DENSE, OF_EXPERTS = 5.0, 7.0
ONCE, OF_A_TOKEN = 3.0, 0.25
"""Of a pass, and of a token beside that of each layer."""


def foreseen(folder: Path, *overrides: str, family: str = "llama", layers: int = 5) -> Prepared:
    if family == "deepseek_v3":  # two layers are dense
        tiny_model(family, layers=layers, first_k_dense_replace=2).save_pretrained(folder / "model")
        word_tokenizer(VOCABULARY).save_pretrained(folder / "model")
    (variant,) = variants_of(load_recipe(write_experiment(folder, family, layers=layers), overrides))
    return foresee(variant, folder / "cache", say=lambda sentence: None)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation of two windows, and of sampling, take what their layers do."""

    def layers_seconds(prepared: Prepared) -> float:
        names = [name for name, _ in prepared.model.named_modules()]
        layers: int = prepared.model.config.get_text_config().num_hidden_layers
        experts = sum(name.endswith("mlp.experts") for name in names)
        found: float = experts * OF_EXPERTS + (layers - experts) * DENSE
        return found

    def window_seconds(prepared: Prepared, times: int = 2) -> float:
        batch = next(iter(prepared.corpus.held_out_batches(2)))
        tokens: int = batch.input_ids.shape[1]
        return (ONCE + layers_seconds(prepared)) / 2 + tokens * OF_A_TOKEN

    monkeypatch.setattr(around, "_evaluation", window_seconds)
    monkeypatch.setattr(around, "_sampling", layers_seconds)


@pytest.mark.parametrize(("family", "all_layers", "last"), [("llama", 5 * DENSE, DENSE), ("deepseek_v3", 33, 7)])
def test_reading_all_layers_is_the_first_and_so_many_like_the_last(
    family: str, all_layers: float, last: float, tmp_path: Path
) -> None:
    cost = forward_cost(foreseen(tmp_path, family=family), None)
    assert cost.window_seconds == pytest.approx((ONCE + all_layers) / 2 + 16 * OF_A_TOKEN)
    assert cost.layer_seconds == pytest.approx(last / 2)
    assert cost.position_seconds == pytest.approx(all_layers)


def test_a_model_of_one_layer_is_read_as_it_is(tmp_path: Path) -> None:
    prepared = foreseen(tmp_path, "arms={full: {train: all}}", layers=1)
    cost = forward_cost(prepared, None)
    assert cost.window_seconds == pytest.approx((ONCE + DENSE) / 2 + 16 * OF_A_TOKEN)


def test_windows_of_a_small_pass_are_drawn_out_and_share_what_a_pass_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(around, "head_cost", lambda prepared, arm, rows: HeadCost(99.0, 0.125, 2.0, 99))
    cost = forward_cost(foreseen(tmp_path), SmallPasses(8, 24))
    held_out = 4  # read together
    assert cost.window_seconds == pytest.approx(
        (ONCE + 5 * DENSE) / held_out + 16 * OF_A_TOKEN + 16 * 0.125 + 2.0 / held_out
    )
    assert cost.position_seconds == pytest.approx(5 * DENSE + 3 * 0.125 + 2.0)  # of three prompts
