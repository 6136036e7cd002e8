"""A whole experiment small enough for a test: a tiny model and its tokenizer in a folder, a text, a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from rich.console import Console
from transformers.utils.logging import disable_progress_bar

from frostline.experiment import RunResult, run_experiment
from frostline.recipe import load_recipe
from frostline.run_folder import WALL_CLOCK_FIELDS
from frostline.terminal.progress import PlainProgress
from tests.builders.models import tiny_model
from tests.builders.tokenizers import word_tokenizer, words

VOCABULARY = 93
"""Words of the tokenizer; with its four special tokens it is as large as the tiny models' vocabulary."""


def write_experiment(folder: Path, family: str = "llama", *, layers: int = 4, **changes: object) -> Path:
    """Write model, corpus and recipe into `folder`; `changes` replace top-level keys of the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model"
    if not model.exists():
        disable_progress_bar()
        tiny_model(family, layers=layers).save_pretrained(model)
        word_tokenizer(VOCABULARY).save_pretrained(model)
    numbers = [(index * index + index // 3) % 61 for index in range(1500)]
    (folder / "text.txt").write_text(words(numbers), encoding="utf-8")
    recipe: dict[str, object] = {
        "name": "tiny",
        "question": "Does it run?",
        "model": {"source": "model"},
        "corpus": {"source": "text.txt"},
        "windows": {"length": 16, "held_out": 4},
        "training": {"steps": 6, "batch": 2, "learning_rate": 0.01, "precision": "fp32", "untimed_steps": 1},
        "arms": {
            "full": {"train": "all"},
            "freeze": {"train": ["attn.qkv@50%:"]},
            "reversed": {"freeze": ["attn@50%:"]},
        },
        "seeds": [0, 1],
        "measures": {
            "evaluate_every": 3,
            "common_tokens": 5,
            "sampling": {"prompts": 3, "prompt_tokens": 4, "new_tokens": 6},
            "memory": False,
        },
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe | changes, sort_keys=False), encoding="utf-8")
    return path


def run_tiny(
    recipe: Path,
    run_folder: Path,
    overrides: tuple[str, ...] = (),
    *,
    fresh: bool = True,
    cache: Path | None = None,
) -> RunResult:
    """Run the experiment in this process, its cache beside the recipe or `cache`; every arm is trained, if `fresh`."""
    cache = cache or recipe.parent / "cache"
    cache.mkdir(exist_ok=True)
    with PlainProgress(Console(quiet=True)) as progress:
        return run_experiment(load_recipe(recipe, overrides), run_folder, cache, progress, fresh=fresh)


def journal_without_clock(run_folder: Path) -> dict[str, list[dict[str, object]]]:
    """Every journal file's lines without the fields that depend on the clock, by file name."""
    return {
        path.name: [
            {key: value for key, value in json.loads(line).items() if key not in WALL_CLOCK_FIELDS}
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        for path in sorted((run_folder / "journal").glob("*.jsonl"))
    }
