"""Files that are missing, cut, pointers, or not those that the index names."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from frostline.loading.weight_files import stored_tensors
from tests.loading.folders import WEIGHTS, change_json, refusal, saved

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 168480\n"
INDEX = "model.safetensors.index.json"


def cut(folder: Path, kept: int) -> None:
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[:kept])


def written(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / WEIGHTS).write_bytes(content)


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (written(POINTER.encode()), "safetensors: it is a Git LFS pointer, not the file itself. Run: git lfs pull"),
        (written(b""), "model.safetensors: it has 0 bytes and is cut, or no safetensors file"),
        (written(b"abc"), "it has 3 bytes and is cut"),
        (written(b"<html>404 not found</html>" * 9), "is cut, or no safetensors file"),
        (written(struct.pack("<Q", 4) + b"nope"), "its header is not what a safetensors file begins with"),
        (written(struct.pack("<Q", 2) + b"[]"), "its header does not tell dtype, shape and place"),
        (written(struct.pack("<Q", 2) + b"{}"), "it holds no tensors"),
        (written(struct.pack("<Q", 9) + b'{"a": {}}'), "its header does not tell dtype, shape and place"),
        (lambda folder: cut(folder, 100), "is cut, or no safetensors file"),
        (lambda folder: cut(folder, 20_000), "it has 20,000 bytes, and its header tells of"),
        (lambda folder: (folder / WEIGHTS).unlink(), "has no safetensors weights (model.safetensors). Save the model"),
        (pickled, "no safetensors weights (model.safetensors); it has pytorch_model.bin. Load it with transformers"),
        (lambda folder: (folder / WEIGHTS).rename(folder / "a.safetensors"), "it has a.safetensors"),
        (lambda folder: (folder / INDEX).write_text("{}"), "has weights twice"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_whole_is_told(damage: Callable[[Path], object], told: str, tmp_path: Path) -> None:
    damage(saved(tmp_path))
    assert told in refusal(tmp_path)


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    saved(tmp_path, shard="40KB")
    found = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(found) > 2
    return found


def test_several_files_are_read_as_one(shards: list[Path]) -> None:
    folder = shards[0].parent
    assert refusal(folder) == ""
    assert stored_tensors(folder, "").keys() == {key for file in shards for key in load_file(file)}


def test_a_file_that_is_missing_or_cut_is_named(shards: list[Path]) -> None:
    folder, second = shards[0].parent, shards[1]
    content = second.read_bytes()
    second.write_bytes(content[:-1])
    assert f"'FOLDER', {second.name}: it has {len(content) - 1:,} bytes, and its header tells of" in refusal(folder)
    second.write_text(POINTER, encoding="utf-8")
    assert f"{second.name}: it is a Git LFS pointer" in refusal(folder)
    second.unlink()
    assert f"'FOLDER' has no {second.name}, which {INDEX} names. Did you mean" in refusal(folder)


def test_a_file_in_the_place_of_another_is_told(shards: list[Path]) -> None:
    shards[1].write_bytes(shards[0].read_bytes())
    assert "is in" in (told := refusal(shards[0].parent))
    assert shards[0].name in told


def test_an_index_that_does_not_fit_is_told(shards: list[Path]) -> None:
    index = shards[0].parent / INDEX
    listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    first = next(key for key in listed if list(listed.values()).count(listed[key]) > 1)
    for changed, told in (
        ({key: name for key, name in listed.items() if key != first}, f"it does not list '{first}'"),
        (listed | {"model.more": shards[0].name}, f"it says that 'model.more' is in {shards[0].name}, and no file has"),
        ({}, "its 'weight_map' does not name a file for each tensor"),
        ([1], "its 'weight_map' does not name a file for each tensor"),
    ):
        change_json(index, weight_map=changed)
        assert told in refusal(index.parent)
    index.write_text("{", encoding="utf-8")
    assert f"{INDEX}: it is not valid JSON" in refusal(index.parent)


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    weights = load_file(tmp_path / WEIGHTS)
    name = "model.layers.0.mlp.up_proj.weight"
    for dtype, called in ((torch.float8_e4m3fn, "F8_E4M3"), (torch.int8, "I8"), (torch.uint8, "U8")):
        save_file(weights | {name: weights[name].to(dtype)}, tmp_path / WEIGHTS, metadata={"format": "pt"})
        assert f"'{name}' is quantised ({called})" in refusal(tmp_path)
