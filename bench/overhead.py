"""What share of a run's time goes to watching it? Journal, weight changes and progress bar around the steps.

    python -m bench.overhead

Runs full, freeze and reversed as `frostline run` does, with what happens around each step put under a clock.
Evaluations and samples are left out: they are work that the recipe asks for, and run between the steps.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from rich.console import Console

from bench.engine import PLANS, print_machine
from frostline.cache import cache_folder
from frostline.experiment import run_experiment, train
from frostline.recipe import Recipe
from frostline.terminal.progress import PlainProgress

STEPS = 12
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Clock:
    """Adds up what the functions that it wraps take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        def timed(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - started

        return timed


def main() -> None:
    print_machine()
    recipe = Recipe.model_validate(
        {
            "windows": {"length": 256},
            "training": {"steps": STEPS, "batch": 2, "learning_rate": 1e-4},
            "arms": {"full": PLANS["full"], "freeze": PLANS["attn.qkv@50%:"], "reversed": PLANS["reversed"]},
            "measures": {"evaluate_every": 0, "sampling": {"prompts": 0}, "memory": False},
        }
    )
    watching, training = Clock(), Clock()
    # The journal and the weight changes of a step; then its line in the progress bar.
    train._record_step = watching.around(train._record_step)
    train._train_together = training.around(train._train_together)

    class Progress(PlainProgress):
        step = watching.around(PlainProgress.step)

    with tempfile.TemporaryDirectory() as folder, Progress(Console(quiet=True)) as progress:
        run_experiment(recipe, Path(folder) / "run", cache_folder(), progress, fresh=True)
    print(
        f"\nJournal, weight changes and progress of {STEPS} steps of 3 arms: {watching.seconds:.2f} s of "
        f"{training.seconds:.1f} s, {100 * watching.seconds / training.seconds:.1f} %"
    )


if __name__ == "__main__":
    main()
