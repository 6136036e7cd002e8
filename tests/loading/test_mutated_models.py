"""What comes of damaged model folders? Their original weights and finite logits, or one sentence; never another thing.

A seeded sample; `python -m bench.mutations` counts what comes of thousands.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.mutated_models import ACCEPTED, FAMILIES, FINE, damaged_model, outcome_of, whole_model

SEEDS = range(60)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_model_is_loaded_whole_or_refused_in_a_sentence(seed: int, tmp_path: Path) -> None:
    done = damaged_model(tmp_path / "model", seed)
    outcome = outcome_of(tmp_path / "model", done.partition(":")[0], tmp_path / "cache")
    assert outcome.kind in ACCEPTED, f"{done}: {outcome.told}"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_is_not_damaged_is_loaded_whole(family: str, tmp_path: Path) -> None:
    outcome = outcome_of(whole_model(family), family, tmp_path / "cache")
    assert outcome.kind == FINE, outcome.told
