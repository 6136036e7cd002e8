"""Files that are missing, cut, pointers, or not those that the index names."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from frostline.errors import ModelError
from frostline.loading import require_model_files
from frostline.loading.weight_files import stored_tensors
from frostline.recipe import ModelSettings
from tests.loading.folders import WEIGHTS, Tensors, change_json, change_weights, refusal, saved

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 168480\n"
INDEX = "model.safetensors.index.json"


def cut(folder: Path, kept: int) -> None:
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[:kept])


def written(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / WEIGHTS).write_bytes(content)


def renamed(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / WEIGHTS).rename(folder / name)


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
        (renamed("model.gguf"), "it has model.gguf. Give the folder that was converted to GGUF, as save_pretrained"),
        (renamed("model.safetensors.incomplete"), "Its download has not ended: download it again."),
        (renamed("model-00001-of-00001.safetensors"), f"Copy or download {INDEX}, which says what is in which file."),
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


def test_an_index_that_names_a_tensor_twice_is_told(shards: list[Path]) -> None:
    index = shards[0].parent / INDEX
    whole = index.read_text(encoding="utf-8")
    name = "model.norm.weight"  # in the second file
    # The library would take the one that comes last, as this one does.
    index.write_text(
        whole.replace('"weight_map": {', f'"weight_map": {{"{name}": "{shards[0].name}",'), encoding="utf-8"
    )
    assert f"'FOLDER', {INDEX}: it names '{name}' twice." in refusal(index.parent)


def test_weights_in_another_folder_are_not_taken(shards: list[Path]) -> None:
    index = shards[0].parent / INDEX
    (index.parent / "others").mkdir()
    shards[1].rename(index.parent / "others" / shards[1].name)
    listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    elsewhere = {key: f"others/{name}" if name == shards[1].name else name for key, name in listed.items()}
    change_json(index, weight_map=elsewhere)
    assert f"it names 'others/{shards[1].name}', and weights lie beside it" in refusal(index.parent)


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    weights = load_file(tmp_path / WEIGHTS)
    name = "model.layers.0.mlp.up_proj.weight"
    for dtype, called in ((torch.float8_e4m3fn, "F8_E4M3"), (torch.int8, "I8"), (torch.uint8, "U8")):
        save_file(weights | {name: weights[name].to(dtype)}, tmp_path / WEIGHTS, metadata={"format": "pt"})
        assert f"'{name}' is quantised ({called})" in refusal(tmp_path)


def fp8_with_scales(name: str, weight: Tensor) -> Tensors:
    return {name: weight.to(torch.float8_e4m3fn), f"{name}_scale_inv": torch.ones(1, 1)}


def bitsandbytes(name: str, weight: Tensor) -> Tensors:
    return {name: torch.zeros(weight.numel() // 2, 1, dtype=torch.uint8), f"{name}.absmax": torch.ones(8)}


def gptq(name: str, weight: Tensor) -> Tensors:
    layer = name.removesuffix(".weight")
    return {f"{layer}.qweight": torch.zeros(4, len(weight), dtype=torch.int32), f"{layer}.scales": torch.ones(1, 8)}


def compressed_tensors(name: str, weight: Tensor) -> Tensors:
    return {
        f"{name}_packed": torch.zeros(len(weight), 4, dtype=torch.int32),
        f"{name}_scale": torch.ones(len(weight), 1),
    }


def mxfp4(name: str, weight: Tensor) -> Tensors:
    layer = name.removesuffix(".weight")
    packed = torch.zeros(4, 16, dtype=torch.uint8)
    return {f"{layer}_blocks": packed, f"{layer}_scales": packed[:, :1]}


def mlx(name: str, weight: Tensor) -> Tensors:
    packed = torch.zeros(len(weight), 4, dtype=torch.int32).view(torch.uint32)
    return {name: packed, name.replace("weight", "scales"): torch.ones(len(weight), 1)}


@pytest.mark.parametrize(
    ("quantise", "called"),
    [
        (fp8_with_scales, "weight' is quantised (F8_E4M3)"),
        (bitsandbytes, "weight' is quantised (U8)"),
        (gptq, "qweight' is quantised (I32)"),
        (compressed_tensors, "weight_packed' is quantised (I32)"),
        (mxfp4, "_blocks' is quantised (U8)"),
        (mlx, "weight' is quantised (U32)"),
    ],
)
def test_quantised_weights_are_told_by_their_headers(
    quantise: Callable[[str, Tensor], Tensors], called: str, tmp_path: Path
) -> None:
    """Whatever the configuration says, and before anything is loaded: `estimate` asks no more than the headers."""

    def changed(weights: Tensors) -> Tensors:
        pairs = [quantise(name, own) if "proj" in name else {name: own} for name, own in weights.items()]
        return {name: own for pair in pairs for name, own in pair.items()}

    change_weights(saved(tmp_path), changed)
    assert f"{called}. Give the model's weights in fp32, bf16 or fp16." in refusal(tmp_path)
    with pytest.raises(ModelError, match=re.escape(called)):
        require_model_files(ModelSettings(source=str(tmp_path)), tmp_path)
