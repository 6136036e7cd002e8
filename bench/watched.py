"""`frostline run`, with a clock around each kind of work: where do the seconds of an experiment go?

`python -m bench.watched SECONDS.json run RECIPE ...` runs the command and writes seconds by kind. What happens inside
another kind is booked on the inner one alone; what is on no clock is 'the rest'.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
_BEGAN = time.perf_counter()
Seconds = tuple[float, float]
"""On the wall, and of the processor over all threads."""


class Clocks:
    """Seconds by kind of work; work inside other work counts once, where it is innermost."""

    def __init__(self) -> None:
        self.seconds: dict[str, Seconds] = {}
        self._inner: list[Seconds] = []

    def around(self, kind: str, function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        """`function`, booked on `kind`."""

        def timed(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            began = now()
            self._inner.append((0.0, 0.0))
            try:
                return function(*args, **kwargs)
            finally:
                took, inner = minus(now(), began), self._inner.pop()
                self.seconds[kind] = plus(self.seconds.get(kind, (0.0, 0.0)), minus(took, inner))
                if self._inner:
                    self._inner[-1] = plus(self._inner[-1], took)

        return timed


def now() -> Seconds:
    return time.perf_counter(), time.process_time()


def plus(one: Seconds, other: Seconds) -> Seconds:
    return one[0] + other[0], one[1] + other[1]


def minus(one: Seconds, other: Seconds) -> Seconds:
    return one[0] - other[0], one[1] - other[1]


def watch(clocks: Clocks) -> None:
    """Put a clock around each kind of work, where it is called."""
    for kind, holder, name in places():
        setattr(holder, name, clocks.around(kind, getattr(holder, name)))


def places() -> tuple[tuple[str, object, str], ...]:
    """Kinds of work, each with the module or class that calls it and the name it calls it by."""
    from frostline import experiment
    from frostline.arms import make, untouched
    from frostline.engine import Arm
    from frostline.experiment import arm_in_training, held_together, measuring, run, train, variants
    from frostline.measures import WeightWatch
    from frostline.plans import AppliedPlan
    from frostline.run_folder import ArmJournal
    from frostline.verbs import runs

    return (
        ("preparing: model, corpus, plans, checks", variants, "prepare"),
        ("preparing: weights from their file", untouched, "load_model"),
        ("preparing: hash of the model", untouched, "identify"),
        ("copies of the model for arms", arm_in_training, "model_for_arm"),
        ("hashes of what arms begin with", arm_in_training, "base_digests"),
        ("trying shortcuts", make, "fit_model"),
        ("plans, optimizers and the rest of an arm's beginning", arm_in_training, "make_arm"),
        ("evaluation", measuring, "evaluate_everywhere"),  # by whichever way one comes to it
        ("sampling and perplexity", train, "record_continuations"),
        ("norms and ranks of weight changes", WeightWatch, "__init__"),
        ("norms and ranks of weight changes", WeightWatch, "after_step"),
        ("norms and ranks of weight changes", WeightWatch, "final"),
        ("proof that nothing frozen moved", AppliedPlan, "verify"),
        ("hashes of what was trained", held_together, "weights_sha256"),
        ("steps", Arm, "take_step"),
        ("checkpoints", train, "_save"),
        ("journal", ArmJournal, "append"),
        ("memory of arms, in processes of their own", run, "record_peaks"),
        ("the rest of the run", experiment, "run_experiment"),
        ("statistics and report", runs, "_reported"),
    )


def main() -> None:
    told, *command = sys.argv[1:]
    clocks = Clocks()
    from frostline.cli import main as frostline
    from frostline.system import ask_for_huge_pages

    ask_for_huge_pages()
    watch(clocks)
    sys.argv = ["frostline", *command]
    imported = time.process_time()
    try:
        clocks.around("the rest of the command", frostline)()
    finally:
        clocks.seconds["starting Python and importing"] = (
            time.perf_counter() - _BEGAN - sum(wall for wall, _ in clocks.seconds.values()),
            imported,
        )
        Path(told).write_text(json.dumps(clocks.seconds))


if __name__ == "__main__":
    main()
