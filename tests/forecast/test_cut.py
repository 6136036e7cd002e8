"""What is timed in a model's stead is a part of it in which the same trains; where there is none, that is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from frostline.arms import foresee
from frostline.errors import ModelError
from frostline.forecast.cut import cut_prepared, require_fewer_layers
from frostline.recipe import load_recipe, variants_of
from tests.builders.experiments import write_experiment
from tests.builders.families import tiny_of_any_family


def test_in_a_cut_model_as_many_rows_of_the_vocabulary_train(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, arms={"rows": {"train": ['embed["w5", 80:90]', "attn.q@-1"]}})
    (variant,) = variants_of(load_recipe(path))
    prepared = foresee(variant, tmp_path / "cache", say=lambda sentence: None)
    cut = cut_prepared(prepared, "rows", [0, 3], rows=40).arms["rows"].resolved
    assert [(own.role, own.portion_shape) for own in cut.trained.values()] == [
        ("embed", (11, 32)),
        ("attn.q", (32, 32)),
    ]


def test_a_family_that_does_not_run_with_fewer_layers_is_refused_in_a_sentence(tmp_path: Path) -> None:
    model = tiny_of_any_family("gemma4_text", num_hidden_layers=4)
    if isinstance(model, str):
        pytest.skip(model)
    path = write_experiment(tmp_path)
    (variant,) = variants_of(load_recipe(path))
    prepared = foresee(variant, tmp_path / "cache", say=lambda sentence: None)
    require_fewer_layers(prepared, None)
    with pytest.raises(ModelError, match=r"Gemma4ForCausalLM does not run with fewer layers.* Use frostline time"):
        require_fewer_layers(replace(prepared, model=model), None)
