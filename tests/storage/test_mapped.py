"""Pages that are let go of come back from the file; what is no file's is left alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from frostline.engine import filed_weights
from frostline.storage import let_go_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pages are let go of on Linux alone")


def test_values_are_there_again_when_they_are_used(tmp_path: Path) -> None:
    values = torch.randn(300, 500, generator=torch.Generator().manual_seed(0)).bfloat16()
    save_file({"w": values}, tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="pt", device="cpu") as content:
        mapped = content.get_tensor("w")
    assert torch.equal(mapped, values)
    assert 0 < let_go_of([mapped]) <= mapped.nbytes
    assert torch.equal(mapped, values)


def test_memory_of_the_process_is_left_alone() -> None:
    own = torch.randn(300, 500)
    before = own.clone()
    assert let_go_of([own]) == 0
    assert torch.equal(own, before)


def test_what_fills_no_page_stays_and_no_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"w": torch.arange(100)}, tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="pt", device="cpu") as content:
        mapped = content.get_tensor("w")
    monkeypatch.delattr("frostline.storage.mapped._mapped_files")
    assert let_go_of([mapped]) == 0
    with pytest.raises(NameError):
        let_go_of([torch.randn(300, 500)])


def test_a_large_copy_has_the_values_of_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(7, 5).bfloat16()
    monkeypatch.setattr(filed_weights, "LARGE_COPY_BYTES", 1)
    assert torch.equal(filed_weights.wider_copy(values, torch.float32), values.float())
