"""`save: {ARM: all}` keeps the trained tensors of every seed, and `frostline verify` knows them again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from frostline.arms import kept_weights_bytes, plan_arms
from frostline.experiment.verify import Finding, verify_run
from frostline.loading import load_model
from frostline.recipe import load_recipe
from frostline.report import render_report
from frostline.storage import seal


def verify(folder: Path) -> list[Finding]:
    return verify_run(folder / "run", folder / "cache", say=lambda text: None, render_report=render_report)


@pytest.mark.parametrize("base", ["narrow", "fused"])
def test_what_trained_is_kept_for_every_seed_and_nothing_else(base: str, request: pytest.FixtureRequest) -> None:
    run: Path = request.getfixturevalue(base)
    recipe = load_recipe(run / "experiment.yaml")
    folder = run / "checkpoints" / "_weights"
    arms = plan_arms(recipe, load_model(recipe.model, run.parent / "cache"))
    wanted = {f"variant0-seed{seed}-{arm}" for seed in recipe.seeds for arm in recipe.kept_weights}
    assert {path.name for path in folder.iterdir()} == wanted
    for name in wanted:
        held = safetensors.torch.load_file(folder / name / "tensors-0000.safetensors")
        assert all(key.startswith("weight/") and own.dtype == torch.float32 for key, own in held.items())
        own_bytes = sum(own.nbytes for own in held.values())
        assert own_bytes == kept_weights_bytes(arms[name.rpartition("-")[2]].resolved)


@pytest.mark.parametrize("base", ["narrow", "fused"])
def test_verify_knows_them_again(base: str, request: pytest.FixtureRequest) -> None:
    run: Path = request.getfixturevalue(base)
    findings = verify(run.parent)
    assert [finding for finding in findings if finding.holds is False] == []
    told = {finding.what for finding in findings}
    recipe = load_recipe(run / "experiment.yaml")
    assert {f"trained tensors of {arm}, seed {seed}" for arm in recipe.kept_weights for seed in recipe.seeds} <= told


def test_verify_finds_a_tensor_that_was_changed_and_sealed_again(fused: Path, tmp_path: Path) -> None:
    shutil.copytree(fused.parent, tmp_path / "copy")
    folder = tmp_path / "copy" / "run" / "checkpoints" / "_weights"
    tensors = safetensors.torch.load_file(folder / "variant0-seed0-part" / "tensors-0000.safetensors")
    next(iter(tensors.values())).view(-1)[0] += 1
    state = (folder / "variant0-seed0-part" / "arm.json").read_bytes()
    shutil.rmtree(folder / "variant0-seed0-part")

    def write(target: Path) -> dict[str, int | str]:
        (target / "tensors-0000.safetensors").write_bytes(safetensors.torch.save(tensors))
        (target / "arm.json").write_bytes(state)
        return {}

    seal(folder, "variant0-seed0-part", write)
    broken = [finding for finding in verify(tmp_path / "copy") if finding.holds is False]
    assert [finding.what for finding in broken] == ["trained tensors of part, seed 0"]
