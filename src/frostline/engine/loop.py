"""In which order do the arms train? One loop, read from top to bottom; each step of each arm is handed out as it ends.

In lock step all arms take step k before any takes step k + 1, and the order turns round every step (A B, B A, ...) so
that a drift of the machine's speed hits all alike. One arm after another is the same loop with one arm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from frostline.corpus import Batch
from frostline.engine.arm import Arm, StepOutcome
from frostline.errors import TrainingError


@dataclass(frozen=True)
class ArmStopped:
    """An arm that cannot go on: the others do."""

    arm: str
    step: int
    cause: str


def train_in_lock_step(
    arms: Sequence[Arm], batch_of_step: Callable[[int], Batch], steps: int
) -> Iterator[StepOutcome | ArmStopped]:
    """Train `arms` for `steps` steps; yields after each step of each arm, with the arm's model in that state.

    An arm whose loss is not finite, or that runs out of memory, yields `ArmStopped` once and is left out from then on.
    """
    training = list(arms)
    for step in range(steps):
        batch = batch_of_step(step)
        for arm in turn_order(training, step):
            try:
                outcome = arm.take_step(batch, step)
            except TrainingError as error:
                training.remove(arm)
                yield ArmStopped(arm.name, step, str(error))
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                training.remove(arm)
                yield ArmStopped(arm.name, step, f"out of memory at step {step}: {str(error).splitlines()[0]}")
            else:
                yield outcome


def turn_order(arms: Sequence[Arm], step: int) -> list[Arm]:
    """The arms in the order of this step: as given at even steps, reversed at odd ones."""
    return list(arms) if step % 2 == 0 else list(reversed(arms))


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, as Python, CUDA's allocator or the CPU's (a plain `RuntimeError`) tell it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
