"""An arm that several processes compute together gives the bits that one gives: journal, weights, and after a kill."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.builders.experiments import write_experiment
from tests.builders.processes import Processes
from tests.builders.ranks import Ranks
from tests.survival.killing import EACH_STEP, FILLED, GRADUAL, KINDS, RACED, TRAINING, snapshot

PARTS = {**TRAINING, "batch": 1, "accumulation": 4}
PLANS: dict[str, dict[str, object]] = {
    "full training": {"arms": {"full": {"train": "all"}}},
    "suffix with a stored prefix": {
        "arms": {"top": {"train": ["all@-1:"]}},
        "training": {**PARTS, "steps": 12, "prefix_cache": {"use": "always"}},
    },
    "split matrices, dropout, bf16": {
        "arms": {"half": {"train": ["attn.qkv@50%:"]}},
        "training": {**PARTS, "precision": "bf16", "dropout": 0.1, "decay": "cosine"},
    },
    "changes over time, adapters": {
        "arms": {"gradual": GRADUAL, "lora": {"lora": {"rank": 2, "targets": ["attn.qkv"]}}},
        "save": {"gradual": "all", "lora": "model"},
    },
    "rows of the vocabulary": {"arms": {"rows": {"train": ["embed[5, 10:20]"]}, "norms": {"train": ["norm"]}}},
    "conversations of uneven width": {},
    "reference loop": {"training": {**PARTS, "engine": "reference"}, "arms": {"full": {"train": "all"}}},
    "random offsets": {
        "windows": {"length": 16, "held_out": 4, "order": "random"},
        "training": {**PARTS, "schedule": "one-by-one"},
    },
    FILLED: {
        "training": {**PARTS, "steps": 4, "prefix_cache": {"fill": "always"}},
        "arms": {"full": {"train": "all"}, "freeze": {"train": ["attn.qkv@-1:"]}},
    },
    RACED: {
        **KINDS[RACED],
        "training": {**PARTS, "steps": 4, "learning_rate": "best", "rates": [0.003, 0.01, 0.03]},
    },
    "variants": {"vary": {"corpus.tokens": [600, 1200]}, "retention": {"source": "text.txt"}},
}


def written(folder: Path, kind: str) -> Path:
    settings: dict[str, object] = {"training": PARTS, "checkpoints": EACH_STEP, "seeds": [0], **PLANS[kind]}
    family = "gpt2" if kind.startswith("split") else "llama"
    recipe = write_experiment(folder, family, layers=4 if kind == FILLED else 2, **settings)  # type: ignore[arg-type]
    if kind.startswith("conversations"):
        rows = [f'{{"prompt": "w{i % 7} w3", "completion": "{" ".join(f"w{j % 50}" for j in range(i % 11 + 1))}"}}' for i in range(40)]
        (folder / "text.jsonl").write_text("\n".join(rows))
        recipe.write_text(recipe.read_text().replace("text.txt", "text.jsonl"))
    return recipe


def one(processes: Processes, recipe: Path, name: str, *more: str) -> Path:
    """The experiment run in one process, with a cache of its own."""
    return several(Ranks([processes]), 1, recipe, name, *more)


def several(ranks: Ranks, size: int, recipe: Path, name: str, *more: str) -> Path:
    folder = recipe.parent / name
    (folder / "cache").mkdir(parents=True)
    output = folder / "output"
    codes = ranks.run(size, ["run", str(recipe), "--out", str(folder / "run"), "--fresh", *more], folder / "cache", output)
    printed = {path.name: path.read_text()[-2000:] for path in sorted(folder.glob("output.*"))}
    assert codes == [0] * size, printed
    assert not any(printed[f"output.{rank}"] for rank in range(1, size))
    return folder / "run"


@pytest.mark.parametrize("kind", PLANS)
def test_two_processes_give_the_bits_of_one(processes: Processes, ranks: Ranks, tmp_path: Path, kind: str) -> None:
    recipe = written(tmp_path, kind)
    assert snapshot(several(ranks, 2, recipe, "two")) == snapshot(one(processes, recipe, "one"))
