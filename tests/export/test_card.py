"""The card says what trained, what stayed and how well it was shown; of the hub it names only what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from frostline.export.card_recipe import shareable_recipe
from frostline.recipe import parse_recipe
from frostline.stats import read_summary
from tests.builders.exports import exported, metadata, own_loss, raw_tensors


@pytest.fixture(scope="module")
def folder(narrow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of an arm whose base's card states a licence."""
    out = tmp_path_factory.mktemp("card") / "out"
    base = narrow.parent / "model" / "README.md"
    base.write_text("---\nlicense: other\nlicense_name: own\nlanguage: en\n---\n# Base\n", encoding="utf-8")
    try:
        exported(narrow, "freeze", "folder", out)
    finally:
        base.unlink()
    return out


def test_its_metadata_state_what_is_known(folder: Path, narrow: Path) -> None:
    data = metadata(folder)
    (entry,) = data.pop("model-index")
    assert data == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": "other",
        "license_name": "own",
        "tags": ["frostline", "partial-fine-tuning"],
    }
    (result,) = entry["results"]
    (metric,) = result["metrics"]
    summary = read_summary(narrow).variants[0].arms["freeze"].held_out_after
    assert metric["value"] == pytest.approx(own_loss(narrow, "freeze"), abs=1e-3)
    assert metric["args"]["interval_95"] == pytest.approx([summary.low, summary.high])
    assert metric["args"]["n"] == 2


def test_its_body_draws_what_trained_and_proves_what_stayed(folder: Path, narrow: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    tensors = raw_tensors(folder)
    assert f"values have the bytes of the base model's file. {len(tensors) - 8} tensors" in text
    assert "layer" in text.split("## Which weights trained")[1].split("##")[0]
    assert "██" in text
    claims = [claim for claim in read_summary(narrow).claims if claim.arm == "freeze" and claim.effect.n]
    assert claims
    for claim in claims:
        assert f"| {claim.id} |" in text
    assert "torch" in text.split("## Versions")[1]


def test_no_path_of_the_machine_stands_in_anything_that_is_exported(folder: Path, narrow: Path) -> None:
    machine = [str(narrow.parent), str(folder.parent), str(Path.home()), ".writing-"]
    for path in folder.rglob("*"):
        if path.suffix in (".md", ".json", ".jinja"):
            text = path.read_text(encoding="utf-8")
            assert not [own for own in machine if own in text], path


def test_a_recipe_is_passed_on_without_the_places_of_its_files(tmp_path: Path) -> None:
    recipe = parse_recipe(
        "model: {source: /home/me/secret/base}\ncorpus: {source: /home/me/secret/notes.txt}\n"
        "retention: {source: ./secret/general.txt}\nmeasures: {judge: {source: owner/judge}}\n"
        "vary: {corpus.source: [/secret/a.txt, 'hub:owner/text']}\narms: {full: {train: all}}\n"
    )
    text = shareable_recipe(recipe)
    values: Any = yaml.safe_load(text)
    assert "secret" not in text
    assert values["model"]["source"] == "base"
    assert values["corpus"]["source"] == "notes.txt"
    assert values["retention"]["source"] == "general.txt"
    assert values["measures"]["judge"]["source"] == "owner/judge"
    assert values["vary"]["corpus.source"] == ["a.txt", "hub:owner/text"]
    assert values["arms"] == {"full": {"train": ["all"]}}
