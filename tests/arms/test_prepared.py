"""What only the model, the corpus or the machine can tell of a recipe is told with the line that is at fault."""

from __future__ import annotations

import sys
from bisect import bisect_left
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
import yaml

from frostline.arms import prepared
from frostline.arms.prepared import prepare
from frostline.cli import main
from frostline.errors import FrostlineError
from frostline.recipe import load_recipe, variants_of
from tests.builders.experiments import write_experiment
from tests.builders.gpu import DEVICE, StandInGpu

ROLES = "all, embed, attn.q, attn.k, attn.v, attn.o, attn, attn.qkv, mlp.up, mlp.down, mlp, norm, bias"
HEAD = """\
model: {source: model}
corpus: {source: text.txt}
windows: {length: 16, held_out: 4}
training: {steps: 6, precision: fp32}
"""
TAIL = "measures: {sampling: {prompts: 0}}\n"
FOUND = {
    "a role that the model lacks": (
        "arms:\n  a:\n    train:\n    - attn.q\n    - mlp.gate\n",
        "9, key 'arms.a.train': 'mlp.gate' matches nothing in the model. "
        f"Did you mean 'mlp.up' or 'mlp' or 'mlp.down'? This model has: {ROLES}.",
    ),
    "a layer that is out of range": (
        "arms:\n  full: {train: all}\n  a:\n    train: [attn, mlp@4]\n",
        "8, key 'arms.a.train': '@4': layer 4 is out of range: the model has 4 layers. They are counted from 0 to 3.",
    ),
    "a slice that is none of its layers": (
        "arms:\n  a: {freeze: attn@:20%}\n",
        "6, key 'arms.a.freeze': '@:20%' is none of the model's 4 layers. "
        "Layers are a slice such as @6:, @:4, @-2:, @2:8, @50%:, or one layer such as @3.",
    ),
    "a name that is none, in a change of an earlier step that is written later": (
        "arms:\n  a:\n    train: attn\n    changes:\n    - {at: 5, thaw: mlp}\n"
        "    - at: 2\n      thaw: [norm, 'name:*.c_fca.weight']\n",
        "11, key 'arms.a.changes.1.thaw': 'name:*.c_fca.weight' matches nothing in the model. Did you mean",
    ),
    "one side of tied weights": (
        "arms:\n  a:\n    freeze:\n    - attn\n    - head\n",
        "9, key 'arms.a.freeze': 'lm_head.weight' and 'transformer.wte.weight' are tied: they share one weight, and "
        "'head' would freeze the one but train the other. Name both, freeze: [embed, head], or neither.",
    ),
    "nothing that trains": (
        "arms:\n  a:\n    freeze:\n    - all\n",
        "7, key 'arms.a.freeze': 'freeze: [all]' trains nothing. "
        "Leave something out of 'freeze', such as the last layers: freeze: [attn, mlp@:-2].",
    ),
    "nothing that trains, later": (
        "arms:\n  a:\n    train: mlp\n    changes:\n    - {at: 2, thaw: attn}\n"
        "    - at: 3\n      freeze: [mlp, attn]\n",
        "11, key 'arms.a.changes.1.freeze': 'train: [mlp]; at 2 thaw: [attn]; at 3 freeze: [mlp, attn]' trains "
        "nothing from step 3 on.",
    ),
    "a target that is none": (
        "arms:\n  a:\n    lora:\n      targets:\n      - attn.qkv\n      - attn.o@7\n",
        "10, key 'arms.a.lora.targets': '@7': layer 7 is out of range",
    ),
    "a target that carries no adapter": (
        "arms:\n  a:\n    lora:\n      rank: 2\n      targets: [norm]\n",
        "9, key 'arms.a.lora.targets': 'transformer.h.0.ln_1.weight' (norm) cannot carry an adapter",
    ),
    "what is watched": (
        "arms: {a: {train: all}}\nmeasures:\n  sampling: {prompts: 0}\n  watch:\n  - attn\n  - attn@9\n",
        "10, key 'measures.watch': '@9': layer 9 is out of range",
    ),
    "a share smaller than any place": (
        "arms:\n  a:\n    train:\n    - top:0.001% by random\n",
        "8, key 'arms.a.train': 'top:0.001% by random' is less than any one of the",
    ),
    "a role that the model lacks beside one that is computed": (
        "arms:\n  a:\n    train:\n    - top:25% by random\n    - mlp.gate\n",
        "9, key 'arms.a.train': 'mlp.gate' matches nothing in the model.",
    ),
    "windows that are too long": (
        "arms: {a: {train: all}}\nmeasures: {sampling: {prompt_tokens: 17}}\n",
        "6, key 'measures.sampling.prompt_tokens': 17 tokens are more than a window of 16",
    ),
    "a text that is not there": (
        "arms: {a: {train: all}}\nretention:\n  source: nowhere.txt\n",
        "6, key 'retention': ",
    ),
}
"""What is wrong: a recipe from line 5 on, and the line and sentence that tell it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    write_experiment(folder, "gpt2")
    return folder


@pytest.mark.parametrize("what", FOUND)
def test_what_only_the_model_can_tell_has_file_and_line(what: str, folder: Path) -> None:
    text, sentence = FOUND[what]
    path = folder / "own.yaml"
    path.write_text(HEAD + text + ("" if "measures" in text else TAIL), encoding="utf-8")
    (variant,) = variants_of(load_recipe(path))
    with pytest.raises(FrostlineError) as caught:
        prepare(variant, folder / "cache", say=lambda sentence: None)
    assert str(caught.value).startswith(f"{path}:{sentence}")


def test_an_override_is_named_where_only_the_model_can_tell(folder: Path) -> None:
    (variant,) = variants_of(load_recipe(folder / "recipe.yaml", ["arms.freeze.train=[mlp.gate]"]))
    with pytest.raises(FrostlineError) as caught:
        prepare(variant, folder / "cache", say=lambda sentence: None)
    assert str(caught.value).startswith("--set arms.freeze.train, key 'arms.freeze.train': 'mlp.gate' matches nothing")


def test_a_variant_is_named_where_it_alone_is_wrong(folder: Path) -> None:
    path = folder / "own.yaml"
    path.write_text(f"{HEAD}arms: {{a: {{train: all}}}}\nvary: {{corpus.tokens: [400, 20]}}\n{TAIL}", encoding="utf-8")
    first, second = variants_of(load_recipe(path))
    prepare(first, folder / "cache", say=lambda sentence: None)
    with pytest.raises(FrostlineError, match=r"own\.yaml:2, key 'corpus' \(vary corpus\.tokens=20\): "):
        prepare(second, folder / "cache", say=lambda sentence: None)


def test_plan_tells_the_line_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "own.yaml"
    path.write_text(f"{HEAD}arms:\n  a:\n    freeze: [mlp.gate]\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["frostline", "plan", str(path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert f"error: {path}:7, key 'arms.a.freeze': 'mlp.gate' matches nothing" in capsys.readouterr().err


def test_a_run_folders_recipe_tells_its_own_line(folder: Path) -> None:
    recipe = load_recipe(folder / "recipe.yaml")
    dumped = folder / "experiment.yaml"
    values = recipe.model_dump(mode="json")
    values["arms"]["freeze"]["train"] = ["attn.q", "mlp.gate"]
    dumped.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    line = dumped.read_text(encoding="utf-8").splitlines().index("    - mlp.gate") + 1
    (variant,) = variants_of(load_recipe(dumped))
    with pytest.raises(FrostlineError, match=rf"experiment\.yaml:{line}, key 'arms\.freeze\.train': 'mlp\.gate'"):
        prepare(variant, folder / "cache", say=lambda sentence: None)


def test_on_a_gpu_the_base_is_there_already_and_counts_once(
    tmp_path: Path, gpu: StandInGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    (variant,) = variants_of(load_recipe(write_experiment(tmp_path), ["training.device=cpu"]))
    made = prepare(variant, tmp_path / "cache", say=lambda text: None)

    def schedule(free: int, device: torch.device) -> str:
        gpu.free_bytes = free
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
        monkeypatch.setattr(prepared, "_bytes_on", lambda device, model: base if device == DEVICE else 0)
        return prepared._resolve_schedule(made.recipe, made.model, made.arms, device)

    gpu.allocated_bytes = gpu.reserved_bytes = base = sum(own.nbytes for own in made.model.parameters())
    everything = range(100 * base)
    least = bisect_left(everything, True, key=lambda free: schedule(free, torch.device("cpu")) == "lock-step")
    assert base < least < len(everything)
    assert schedule(least - base, DEVICE) == "lock-step"
    assert schedule(least - base - 1, DEVICE) == "one-by-one"


def test_weights_on_the_current_gpu_are_counted_by_its_number(gpu: StandInGpu) -> None:
    model = SimpleNamespace(parameters=lambda: [SimpleNamespace(device=torch.device("cuda", 1), nbytes=8)])
    assert prepared._bytes_on(DEVICE, model) == 8  # type: ignore[arg-type]
    assert prepared._bytes_on(torch.device("cuda", 0), model) == 0  # type: ignore[arg-type]
