"""A base and a text of the hub are named by their ids; code of a base comes along only where it was trusted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from frostline.errors import ModelError
from frostline.experiment import run_experiment
from frostline.export import Choice, Wish, export_arm, put_patch
from frostline.progress import NoProgress
from frostline.recipe import ModelSettings, load_recipe, trusting
from tests.builders.experiments import write_experiment
from tests.builders.exports import exported, metadata, raw_tensors
from tests.builders.hub import Hub, install, publish, use_hub_cache
from tests.builders.tokenizers import words
from tests.loading.test_remote_code import CODE, MODULES, pin_of, write_config

COMMIT = "a" * 40
SHORT: dict[str, object] = {
    "arms": {"freeze": {"train": ["attn.qkv@-1"]}},
    "save": {"freeze": "all"},
    "seeds": [0],
    "retention": "none",
    "measures": {"evaluate_every": 0, "memory": False, "sampling": {"prompts": 0}},
}


def write_short(folder: Path) -> Path:
    return write_experiment(folder, layers=2, **SHORT)  # type: ignore[arg-type]  # of any type


def as_links(snapshot: Path) -> None:
    """Put the files of a snapshot where the hub's own cache has them, and links in their place."""
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir()
    for path in list(snapshot.iterdir()):
        path.rename(blobs / path.name)
        path.symlink_to(Path("../../blobs") / path.name)


def test_what_is_of_the_hub_is_named_and_read_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write_short(tmp_path / "files")
    (tmp_path / "files" / "model" / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    publish(use_hub_cache(monkeypatch, tmp_path / "hub"), "owner/model", tmp_path / "files" / "model", COMMIT)
    as_links(tmp_path / "hub" / "models--owner--model" / "snapshots" / COMMIT)
    install(monkeypatch, Hub([{"text": words([(index * index) % 61 for index in range(1500)])}]))
    cache = tmp_path / "files" / "cache"
    cache.mkdir()
    of_hub = ("model.source=owner/model", "corpus.source=hub:owner/text")
    run = run_experiment(load_recipe(recipe, of_hub), tmp_path / "files" / "run", cache, NoProgress()).run_folder
    exported(run, "freeze", "folder", tmp_path / "folder")
    exported(run, "freeze", "patch", tmp_path / "patch")
    for kind in ("folder", "patch"):
        data = metadata(tmp_path / kind)
        assert (data["base_model"], data["base_model_relation"]) == ("owner/model", "finetune")
        assert data["datasets"] == ["owner/text"]
        assert data["license"] == "mit"
        text = (tmp_path / kind / "README.md").read_text(encoding="utf-8")
        assert f"[owner/model](https://huggingface.co/owner/model) at `{COMMIT}`" in text
    patch = tmp_path / "patch" / "patch.safetensors"
    put_patch(ModelSettings(source="owner/model"), patch, tmp_path / "put", cache, say=lambda text: None)
    assert raw_tensors(tmp_path / "put") == raw_tensors(tmp_path / "folder")
    assert not any(path.is_symlink() for path in (tmp_path / "put").iterdir())


def test_code_of_a_base_comes_along_where_it_was_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    recipe = write_short(tmp_path)
    write_config(tmp_path, model_type="stranger", auto_map=MODULES, architectures=["StrangerForCausalLM"])
    code = tmp_path / "model" / "stranger.py"
    code.write_text(CODE.format(witness=tmp_path / "witness"), encoding="utf-8")
    pin = pin_of(recipe)
    cache = tmp_path / "cache"
    cache.mkdir()
    run_experiment(trusting(load_recipe(recipe), pin), tmp_path / "run", cache, NoProgress())
    with pytest.raises(ModelError, match="does not run unasked"):
        exported(tmp_path / "run", "freeze", "folder", tmp_path / "out")
    choice, wish = Choice(tmp_path / "run", "freeze"), Wish("folder", tmp_path / "out")
    found = export_arm(choice, wish, cache, draw=lambda arm: "", trusted_code=pin)
    assert (tmp_path / "out" / "stranger.py").read_bytes() == code.read_bytes()
    assert json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))["auto_map"] == MODULES
    assert "you trusted" in found.remarks[0]
