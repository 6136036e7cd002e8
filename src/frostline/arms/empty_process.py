"""What does a process take that has loaded every library and the tokenizer, and no weights?

`python -m frostline.arms.empty_process` is that process: it prints its resident set in bytes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from frostline.loading import load_tokenizer, parameter_count
from frostline.recipe import ModelSettings, Recipe, with_absolute_paths


def process_bytes(recipe: Recipe, cache: Path) -> int:
    """Resident set of such a process for the model of `recipe`, measured in one of its own."""
    command = [
        sys.executable,
        "-m",
        "frostline.arms.empty_process",
        with_absolute_paths(recipe).model.model_dump_json(),
        str(cache),
    ]
    command.append(recipe.model.trusted_code or "")
    finished = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=True)
    return int(finished.stdout.split()[-1])


def _load(settings: ModelSettings, cache: Path) -> None:
    load_tokenizer(settings, cache)
    parameter_count(settings, cache)


if __name__ == "__main__":
    model, cache_folder, trusted_code = sys.argv[1:]
    _load(ModelSettings.model_validate_json(model).trusting(trusted_code or None), Path(cache_folder))
    print(psutil.Process().memory_info().rss)
