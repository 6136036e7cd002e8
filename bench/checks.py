"""How long do the checks of what goes in take, beside the run that they come before?

    python -m bench.checks RUN        # RUN: the folder of a finished run of the demo

Prepares the recipe of RUN some times, each check timed where it is called, and sets their sum against the run's time.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar
from unittest.mock import patch

import frostline
from frostline.arms import prepare, prepared
from frostline.cache import cache_folder
from frostline.loading import pretrained
from frostline.recipe import load_recipe, variants_of

ROUNDS = 5
CHECKS = (
    (pretrained, "require_as_stored", "every weight against the files"),
    (pretrained, "require_trainable", "finite, causal, embeddings"),
    (prepared, "require_going_on", "text can be sampled"),
    (prepared, "require_embedded_ids", "every id has an embedding"),
    (prepared, "remarks_on", "overlap of held-out text"),
)
Given = ParamSpec("Given")
Back = TypeVar("Back")


def main() -> None:
    run = Path(sys.argv[1])
    recipe = load_recipe(run / "experiment.yaml")
    seconds_of_run = frostline.open_run(run).summary.seconds
    if seconds_of_run is None:
        sys.exit(f"{run} has not finished")
    spent: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        patches = [patch.object(room, name, _timed(getattr(room, name), spent, what)) for room, name, what in CHECKS]
        for each in patches:
            each.start()
        prepare(variants_of(recipe)[0], cache_folder(), say=lambda sentence: None)
        for each in patches:
            each.stop()
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {ROUNDS} rounds")
    for what, seconds in spent.items():
        print(f"  {what}: {statistics.median(seconds):.3f} s [{min(seconds):.3f}, {max(seconds):.3f}]")
    total = sum(statistics.median(seconds) for seconds in spent.values())
    print(f"  all: {total:.2f} s, {total / seconds_of_run:.2%} of a run of {seconds_of_run:.0f} s")


def _timed(check: Callable[Given, Back], spent: dict[str, list[float]], what: str) -> Callable[Given, Back]:
    def timed(*given: Given.args, **named: Given.kwargs) -> Back:
        began = time.perf_counter()
        try:
            return check(*given, **named)
        finally:
            spent.setdefault(what, []).append(time.perf_counter() - began)

    return timed


if __name__ == "__main__":
    main()
