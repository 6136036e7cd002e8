"""A patch is what trained alone; on its base it gives the exported folder, bit for bit, with Frostline and without."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from frostline.errors import FrostlineError
from frostline.export import put_patch
from frostline.recipe import ModelSettings
from tests.builders.exports import exported, metadata, raw_tensors


@pytest.fixture(scope="module")
def both(narrow: Path, fused: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each run a folder with `base`, and an export as a `patch` and as a `folder`."""
    found = {}
    for name, run, arm, dtype in (
        ("narrow", narrow, "freeze", "base"), ("wide", narrow, "freeze", "float32"), ("fused", fused, "part", "base"),
        ("rows", fused, "rows", "base"),
    ):  # fmt: skip
        found[name] = tmp_path_factory.mktemp(name)
        for kind in ("patch", "folder"):
            exported(run, arm, kind, found[name] / kind, dtype=dtype)
        shutil.copytree(run.parent / "model", found[name] / "base")
    return found


def put(base: Path, patch: Path, out: Path) -> None:
    put_patch(ModelSettings(source=str(base)), patch, out, out.parent / "cache", say=lambda text: None)


@pytest.mark.parametrize("name", ["narrow", "wide", "fused", "rows"])
def test_a_patch_on_its_base_is_the_exported_folder_bit_for_bit(
    both: dict[str, Path], tmp_path: Path, name: str
) -> None:
    folder = both[name]
    put(folder / "base", folder / "patch" / "patch.safetensors", tmp_path / "out")
    written, wanted = (
        {path.name: path.read_bytes() for path in own.iterdir()} for own in (tmp_path / "out", folder / "folder")
    )
    del wanted["README.md"]
    assert written == wanted


def test_the_cards_own_lines_apply_it_in_a_process_that_has_never_met_frostline(
    both: dict[str, Path], tmp_path: Path
) -> None:
    for name, folder in both.items():
        text = (folder / "patch" / "README.md").read_text(encoding="utf-8")
        (lines,) = [found for found in re.findall(r"```python\n(.*?)```", text, re.S) if "patch.safetensors" in found]
        assert len(lines.splitlines()) < 25
        (tmp_path / name / "OUT").mkdir(parents=True)
        (tmp_path / name / "BASE").symlink_to(folder / "base")
        (tmp_path / name / "lines.py").write_text(lines, encoding="utf-8")
        shutil.copy(folder / "patch" / "patch.safetensors", tmp_path / name)
    each = f"import os, runpy, sys\nfor name in {list(both)}:\n os.chdir({str(tmp_path)!r} + '/' + name)\n"
    alone = each + " runpy.run_path('lines.py')\nassert 'frostline' not in sys.modules"
    subprocess.run([sys.executable, "-c", alone], check=True)
    for name, folder in both.items():
        assert raw_tensors(tmp_path / name / "OUT") == raw_tensors(folder / "folder")


def test_a_patch_holds_what_trained_alone_and_says_where_it_belongs(both: dict[str, Path]) -> None:
    file = both["fused"] / "patch" / "patch.safetensors"
    with safe_open(file, "pt") as patch:
        facts = patch.metadata()
    tensors = load_file(file)
    assert facts["format"] == "frostline-patch"
    assert facts["version"] == "1"
    shapes = {name: tuple(own.shape) for name, own in tensors.items()}
    assert shapes == {"transformer.h.2.attn.c_attn.weight": (32, 32), "transformer.h.3.attn.c_attn.weight": (32, 64)}
    assert json.loads(facts["rows"])["transformer.h.3.attn.c_attn.weight"] == {
        "dimension": 1, "runs": [[0, 32, 1], [64, 96, 1]],
    }  # fmt: skip
    assert file.stat().st_size < (both["fused"] / "base" / "model.safetensors").stat().st_size / 4
    assert metadata(both["fused"] / "patch")["library_name"] == "frostline"


def test_a_patch_of_tokens_holds_their_rows_alone(both: dict[str, Path]) -> None:
    file = both["rows"] / "patch" / "patch.safetensors"
    with safe_open(file, "pt") as patch:
        rows = json.loads(patch.metadata()["rows"])
    (name,) = rows
    assert name.endswith("wte.weight")
    assert load_file(file)[name].shape[0] == 4
    base, out = (load_file(both["rows"] / kind / "model.safetensors")[name] for kind in ("base", "folder"))
    moved = (base != out).any(1).nonzero().flatten().tolist()
    assert moved
    assert set(moved) <= {3, 5, 6, 7}


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def renamed_version(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'"version":"1"', b'"version":"9"'))


def no_patch(file: Path) -> None:
    save_file(load_file(file), file, {"format": "pt"})


def wild_rows(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"[64,", b"[-9,").replace(b"[64, ", b"[-9, "))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (cut, "it is cut short"),
        (renamed_version, "a patch of version 9"),
        (no_patch, "not a patch"),
        (wild_rows, "does not fit"),
        (Path.unlink, "there is no such file"),
    ],
)
def test_a_patch_that_is_none_is_refused(
    both: dict[str, Path], tmp_path: Path, change: Callable[[Path], None], words: str
) -> None:
    file = tmp_path / "patch.safetensors"
    shutil.copy(both["fused"] / "patch" / file.name, file)
    change(file)
    with pytest.raises(FrostlineError, match=words):
        put(both["fused"] / "base", file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_base_that_is_not_the_patchs_is_refused(both: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(both["fused"] / "base", tmp_path / "base")
    tensors = load_file(tmp_path / "base" / "model.safetensors")
    name = "transformer.h.3.attn.c_attn.weight"
    tensors[name] = tensors[name] * 2
    save_file(tensors, tmp_path / "base" / "model.safetensors", {"format": "pt"})
    patch = both["fused"] / "patch" / "patch.safetensors"
    with pytest.raises(FrostlineError, match=f"its '{re.escape(name)}' has other bytes"):
        put(tmp_path / "base", patch, tmp_path / "out")
    with pytest.raises(FrostlineError, match=r"it has no 'transformer\.h\.2"):
        put(both["narrow"] / "base", patch, tmp_path / "out")
    assert not (tmp_path / "out").exists()
