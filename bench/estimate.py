"""How good is `frostline estimate`? Its step time and peak memory beside those that `frostline time` measures.

python -m bench.estimate                     # the demo's arms and `all@-4:`, at three shapes
python -m bench.estimate my-recipe.yaml      # or a recipe of yours
python -m bench.estimate --run               # the memory of whole runs of a few steps instead, each in a process
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from rich.console import Console

from bench.engine import PLANS, header, print_machine
from frostline.cache import cache_folder
from frostline.experiment.run import run_experiment
from frostline.forecast.estimate import estimate_recipe
from frostline.forecast.timing import time_recipe
from frostline.measures import peak_bytes
from frostline.recipe import Recipe, dump_recipe, load_recipe, with_absolute_paths
from frostline.terminal.progress import PlainProgress

SHAPES = ((2, 256), (4, 128), (8, 256))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--run", action="store_true", help="measure the process of a run of a few steps")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(json.dumps(peak_of_run(load_recipe(options.recipe))))
        return
    print_machine()
    if options.run:
        print(header("run", "peak memory: estimate, measured, GB", "ratio"))
        for recipe in [load_recipe(options.recipe)] if options.recipe else short_runs():
            print_run(recipe)
        return
    for recipe in [load_recipe(options.recipe)] if options.recipe else shipped():
        shape = f"{recipe.training.batch} x {recipe.windows.length} tokens"
        estimates = estimate_recipe(recipe, cache_folder(), say=lambda sentence: None)
        timings = time_recipe(recipe, cache_folder(), rounds=options.rounds, say=lambda sentence: None)
        print(f"\n## {shape}\n")
        print(header("arm", "step: estimate, measured, s", "ratio", "peak memory: estimate, measured, GB", "ratio"))
        for estimated, timed in zip(estimates[0].arms, timings[0].arms, strict=True):
            seconds, peak = timed.step_seconds.value, timed.peak_bytes
            assert seconds is not None
            assert peak is not None
            print(
                f"| `{estimated.plan}` | {estimated.step_seconds:.2f}, {seconds:.2f} "
                f"| {estimated.step_seconds / seconds:.2f} "
                f"| {estimated.peak_bytes / 1e9:.2f}, {peak / 1e9:.2f} | {estimated.peak_bytes / peak:.2f} |",
                flush=True,
            )


def print_run(recipe: Recipe) -> None:
    """One row: a run as estimated and as measured in a process of its own, which begins with nothing loaded."""
    (estimate,) = estimate_recipe(recipe, cache_folder(), say=lambda sentence: None)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recipe.yaml"
        file.write_text(dump_recipe(with_absolute_paths(recipe)), encoding="utf-8")
        command = [sys.executable, "-m", "bench.estimate", str(file), "--peak"]
        finished = subprocess.run(command, capture_output=True, text=True, check=True)
    peak = json.loads(finished.stdout.splitlines()[-1])
    shape = f"{', '.join(recipe.arms)}: {recipe.training.batch} x {recipe.windows.length} tokens"
    print(
        f"| {shape}, {estimate.precision} | {estimate.memory_bytes / 1e9:.2f}, {peak / 1e9:.2f} "
        f"| {estimate.memory_bytes / peak:.2f} |",
        flush=True,
    )


def peak_of_run(recipe: Recipe) -> int:
    """Peak memory of this process, which runs `recipe`; nothing is taken from an earlier run."""
    with tempfile.TemporaryDirectory() as folder:
        progress = PlainProgress(Console(quiet=True))
        run_experiment(recipe, Path(folder) / "run", cache_folder(), progress, fresh=True)
    return peak_bytes(torch.device("cpu"))


def short_runs() -> list[Recipe]:
    """Runs of three steps: one arm and several, short windows and long ones, with prefixes in memory."""
    arms = {
        "full": {"full": {"train": ["all"]}},
        "top": {"top": {"train": ["all@-4:"]}},
        "both": {"full": {"train": ["all"]}, "freeze": {"train": ["attn.qkv@50%:"]}},
    }
    shapes = [("full", 2, 128), ("full", 8, 256), ("top", 2, 1024), ("both", 4, 256)]
    return [
        Recipe.model_validate(
            {
                "windows": {"length": length, "held_out": 8},
                "training": {"batch": batch, "steps": 3, "untimed_steps": 0},
                "arms": arms[name],
                "measures": {"memory": False, "evaluate_every": 2, "sampling": {"prompts": 4, "new_tokens": 8}},
            }
        )
        for name, batch, length in shapes
    ]


def shipped() -> list[Recipe]:
    return [
        Recipe.model_validate(
            {
                "windows": {"length": length},
                "training": {"batch": batch, "steps": 40},
                "arms": {f"arm{index}": plan for index, plan in enumerate(PLANS.values())},
                "seeds": [0, 1, 2],
            }
        )
        for batch, length in SHAPES
    ]


if __name__ == "__main__":
    main()
