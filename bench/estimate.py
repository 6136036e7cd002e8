"""How good is `frostline estimate`? Its step time and peak memory beside those that `frostline time` measures.

python -m bench.estimate                     # the demo's arms and `all@-4:`, at three shapes
python -m bench.estimate my-recipe.yaml      # or a recipe of yours
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.engine import PLANS, header, print_machine
from frostline.cache import cache_folder
from frostline.forecast.estimate import estimate_recipe
from frostline.forecast.timing import time_recipe
from frostline.recipe import Recipe, load_recipe

SHAPES = ((2, 256), (4, 128), (8, 256))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    print_machine()
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
