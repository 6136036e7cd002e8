"""How long does a step of each arm take, here? The arms alone, step by step in turns, nothing measured around them.

All arms take a step on the same windows before any takes the next, and the order turns round each time (A B, B A, ...),
so that a change of the machine's speed hits all alike. Windows are visited more than once: the first visit computes
what the engine can store, later ones start from it. Each arm has stored prefixes of its own: none works for another.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from frostline.arms.make import alone, make_arm, shared_parts
from frostline.arms.prepared import Prepared
from frostline.corpus import Batch
from frostline.engine import Arm, StepOutcome, give_back_device_memory, turn_order
from frostline.errors import TrainingError
from frostline.out_of_memory import MEMORY_ERRORS, is_out_of_memory

FIRST_VISITS = 4
"""Steps on windows not seen before; the first of them also warms up machine and optimizer and is left out."""


@dataclass(frozen=True)
class Visits:
    """The steps of one arm."""

    stores_prefix: bool
    """Whether a later visit of a window differs from the first."""
    first: list[StepOutcome]
    later: list[StepOutcome]
    data_seconds: list[float]
    """Cutting each step's windows out of the corpus."""


def take_turns(prepared: Prepared, rounds: int, say: Callable[[str], None]) -> dict[str, Visits]:
    """`FIRST_VISITS` steps of every arm on new windows and `rounds` on these again, by arm. Raises `TrainingError`."""
    names = list(prepared.arms)
    together = prepared.schedule == "lock-step"
    if not together:
        say("The arms do not fit into memory together: they are timed one after another.")
    found: dict[str, Visits] = {}
    for group in [names] if together else [[name] for name in names]:
        say(f"Timing {', '.join(group)}")
        found |= _visits_of(prepared, group, rounds, say)
        give_back_device_memory(prepared.device)
    return found


def _visits_of(prepared: Prepared, group: list[str], rounds: int, say: Callable[[str], None]) -> dict[str, Visits]:
    """Those of arms that are in memory together; they are gone afterwards."""
    seed, training = prepared.recipe.seeds[0], prepared.recipe.training
    windows = training.batch * training.accumulation
    # With random offsets windows do not come back: each visit is a first one.
    come_back = prepared.recipe.windows.order == "epochs"
    with shared_parts(prepared, None) as sharing:
        arms = [make_arm(alone(sharing, arm), arm, seed, say=say) for arm in map(sharing.arms.__getitem__, group)]
        visits = {arm.name: Visits(arm.forward.stores_prefix and come_back, [], [], []) for arm in arms}
        for turn in range(FIRST_VISITS + rounds):
            started = time.perf_counter()
            batch = prepared.corpus.batch(seed, turn % FIRST_VISITS if come_back else turn, windows)
            data_seconds = time.perf_counter() - started
            for arm in turn_order(arms, turn):
                outcome = _step(arm, batch)
                own = visits[arm.name]
                (own.first if turn < FIRST_VISITS else own.later).append(outcome)
                own.data_seconds.append(data_seconds)
    return visits


def _step(arm: Arm, batch: Batch) -> StepOutcome:
    try:
        return arm.take_step(batch, 0)
    except TrainingError as error:
        error.during(f"arm {arm.name}")
        raise
    except MEMORY_ERRORS as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"arm {arm.name}: memory ran out.", "Use a smaller training.batch, with training.accumulation to make up."
        ) from error
