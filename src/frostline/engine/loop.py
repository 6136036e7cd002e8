"""In which order do the arms train? One loop, read from top to bottom; each step of each arm is handed out as it ends.

In lock step all arms take step k before any takes step k + 1, and the order turns round every step (A B, B A, ...) so
that a drift of the machine's speed hits all alike. One arm after another is the same loop with one arm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from frostline.corpus import Batch
from frostline.engine.arm import Arm, StepOutcome
from frostline.errors import FrostlineError


@dataclass(frozen=True)
class ArmStopped:
    """An arm that cannot go on: the others do."""

    arm: str
    step: int
    error: Exception

    @property
    def cause(self) -> str:
        """The error in a line."""
        return cause_of(self.error)


def train_in_lock_step(
    arms: list[Arm],
    batch_of_step: Callable[[int], Batch],
    steps: int,
    done: Mapping[str, int] | None = None,
) -> Iterator[StepOutcome | ArmStopped]:
    """Train `arms` for `steps` steps; yields after each step of each arm, with the arm's model in that state.

    `done` says how many steps an arm has taken already: it joins when the others have come so far. An arm that cannot
    go on, for whatever reason, yields `ArmStopped` once and leaves the list `arms`, from which the caller may remove
    others: none depends on another.
    """
    done = done or {}
    for step in range(min((done.get(arm.name, 0) for arm in arms), default=steps), steps):
        if not arms:
            return
        batch = batch_of_step(step)
        for arm in turn_order(arms, step):
            if step < done.get(arm.name, 0):
                continue
            try:
                outcome = arm.take_step(batch, step)
            except Exception as error:  # noqa: BLE001  # an arm of the user's experiment, not the experiment, has failed
                arms.remove(arm)
                yield ArmStopped(arm.name, step, error)
            else:
                yield outcome


def turn_order(arms: Sequence[Arm], step: int) -> list[Arm]:
    """The arms in the order of this step: as given at even steps, reversed at odd ones."""
    return list(arms) if step % 2 == 0 else list(reversed(arms))


def cause_of(error: Exception) -> str:
    """Why an arm cannot go on, in a line."""
    if isinstance(error, FrostlineError):
        return str(error)
    first = (str(error).splitlines() or [""])[0]
    if is_out_of_memory(error):
        return f"out of memory: {first}"
    return f"{type(error).__name__}: {first}"


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, as Python, CUDA's allocator or the CPU's (a plain `RuntimeError`) tell it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
