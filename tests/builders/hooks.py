"""What a test changes in a process of its own before the command begins: an arm that fails, a disk that is full."""

from __future__ import annotations

import datetime
import itertools
import os
import resource
import shutil
import signal

import torch

from frostline.corpus import Batch, tokenise
from frostline.engine import Arm, StepOutcome
from frostline.storage import disk


def install(names: str) -> None:
    """Install hooks, blanks between them: each `KIND:ARM:STEP`, `today:DATE`, `largest-file:BYTES`, `free-bytes:BYTES`.

    A kind is `memory`, `defect`, `nan`, or signals, such as `SIGINT+SIGTERM`, that the process sends itself in that
    step. `SIGKILL:full:2:3` waits for the third time that an arm of that name takes it: each trial of a race is one.
    """
    for name in names.split():
        _install(*name.split(":", 1))


def _install(kind: str, rest: str) -> None:
    if kind == "largest-file":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(rest), int(rest)))
    elif kind == "free-bytes":
        usage = shutil.disk_usage("/")
        disk.shutil.disk_usage = lambda path: usage._replace(free=int(rest))  # type: ignore[attr-defined]
    elif kind == "today":
        tokenise.today = lambda: datetime.date.fromisoformat(rest)  # type: ignore[assignment]
    else:
        arm, step, *time = rest.split(":")
        _fail(kind, arm, int(step), int(time[0]) if time else None)


def _fail(kind: str, arm_name: str, at: int, time: int | None) -> None:
    """Go wrong whenever an arm of that name takes step `at`, or only the `time`-th time, counted from 1."""
    take_step, times = Arm.take_step, itertools.count(1)

    def failing(self: Arm, batch: Batch, step: int) -> StepOutcome:
        if self.name == arm_name and step == at and time in (None, next(times)):
            if kind.startswith("SIG"):
                for number in kind.split("+"):
                    os.kill(os.getpid(), signal.Signals[number])
                return take_step(self, batch, step)
            if kind == "memory":
                raise torch.OutOfMemoryError("injected: out of memory")
            if kind == "defect":
                raise ZeroDivisionError("injected: a defect")
            with torch.no_grad():  # the loss of this step is not a number
                next(parameter for _, parameter in self.applied.trainable_parameters()).fill_(float("nan"))
        return take_step(self, batch, step)

    Arm.take_step = failing  # type: ignore[method-assign]
