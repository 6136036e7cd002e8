"""What is timed in a model's stead is a part of it in which the same trains; where there is none, that is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from frostline.arms import foresee
from frostline.errors import ModelError
from frostline.forecast.cut import require_fewer_layers
from frostline.recipe import load_recipe, variants_of
from tests.builders.experiments import write_experiment
from tests.builders.families import tiny_of_any_family


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
