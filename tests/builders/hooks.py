"""What a test changes in a process of its own before the command begins: an arm that fails, a disk that is full."""

from __future__ import annotations

import datetime
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

    A kind is `memory`, `defect`, `nan`, or signals, such as `SIGINT+SIGTERM`, that the process sends itself
    in that step.
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
        arm, _, step = rest.partition(":")
        _fail(kind, arm, int(step))


def _fail(kind: str, arm_name: str, at: int) -> None:
    take_step = Arm.take_step

    def failing(self: Arm, batch: Batch, step: int) -> StepOutcome:
        if self.name == arm_name and step == at:
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
