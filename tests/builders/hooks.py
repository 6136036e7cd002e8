"""What a test changes in a process of its own before the command begins: an arm that fails, a disk that is full."""

from __future__ import annotations

import datetime
import itertools
import os
import resource
import shutil
import signal
from pathlib import Path

import torch

from frostline.arms import fits
from frostline.corpus import Batch, tokenise
from frostline.engine import Arm, StepClock, StepOutcome, prefix_fill, world
from frostline.engine.prefix_file import RowFile
from frostline.launch import meeting
from frostline.run_folder import at_work
from frostline.storage import disk


def install(names: str) -> None:
    """Install hooks, blanks between them: each `KIND:ARM:STEP`, `today:DATE`, `largest-file:BYTES`, `free-bytes:BYTES`,
    `kill-in-fill:WINDOWS`, `oom-kills:NUMBER` (what the kernel's count is), `threads:NUMBER` (of torch).

    `free-memory:BYTES` is what there is in all where it is forecast whether arms fit, `arrival:SECONDS` how long a
    process without memory waits for the others, `patience:SECONDS` how long one waits in silence before they meet.

    `overwrite`, `truncate` and `replace` do that to the file of the model's weights, as another program would.

    `part:ARM:STEP` runs out of memory in a part of that step. A kind is `memory`, `defect`, `nan`, or signals, such as
    `SIGINT+SIGTERM`, that the process sends itself in that
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
    elif kind == "arrival":
        world.ARRIVAL_SECONDS = float(rest)
    elif kind == "patience":
        meeting.PATIENCE_SECONDS = float(rest)
    elif kind == "free-memory":
        fits.free_memory_bytes = lambda *arguments: int(rest)  # type: ignore[attr-defined]
    elif kind == "kill-in-fill":
        _kill_in_fill(int(rest))
    elif kind == "oom-kills":
        at_work.oom_kills = lambda: int(rest)
    elif kind == "threads":
        torch.set_num_threads(int(rest))
    elif kind == "part":
        _fail_in_part(*rest.split(":"))
    elif kind == "today":
        tokenise.today = lambda: datetime.date.fromisoformat(rest)  # type: ignore[assignment]
    else:
        arm, step, *time = rest.split(":")
        _fail(kind, arm, int(step), int(time[0]) if time else None)


def _kill_in_fill(windows: int) -> None:
    """Be killed when so many windows have passed a layer, with half a record of the next one in its file."""
    keep, times = prefix_fill._keep, itertools.count(1)
    append = RowFile.append

    def half_written(self: RowFile, window: bytes, row: torch.Tensor) -> None:
        os.pwrite(self._file.fileno(), b"half a record", self.bytes)
        os.kill(os.getpid(), signal.SIGKILL)
        append(self, window, row)

    def killing(*arguments: object, **named: object) -> None:
        if next(times) > windows:
            RowFile.append = half_written  # type: ignore[method-assign]
        keep(*arguments, **named)  # type: ignore[arg-type]

    prefix_fill._keep = killing


def _fail_in_part(arm_name: str, at: str) -> None:
    compute = Arm._compute_part

    def failing(self: Arm, part: Batch, index: int, step: int, predictions: int, clock: StepClock) -> torch.Tensor:
        if self.name == arm_name and step == int(at):
            raise torch.OutOfMemoryError("injected: out of memory")
        return compute(self, part, index, step, predictions, clock)

    Arm._compute_part = failing  # type: ignore[method-assign]


def _change_weights(file: Path, how: str) -> None:
    content = file.read_bytes()
    half = len(content) // 2
    if how == "replace":
        other = file.with_name("other")
        other.write_bytes(content[:half] + bytes(len(content) - half))
        other.replace(file)
    elif how == "truncate":
        os.truncate(file, half)
    else:
        with file.open("r+b") as opened:
            opened.seek(half)
            opened.write(bytes(len(content) - half))


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
            if kind in ("overwrite", "truncate", "replace"):
                _change_weights(Path(str(self.applied.model.config._name_or_path)) / "model.safetensors", kind)
                return take_step(self, batch, step)
            with torch.no_grad():  # the loss of this step is not a number
                next(parameter for _, parameter in self.applied.trainable_parameters()).fill_(float("nan"))
        return take_step(self, batch, step)

    Arm.take_step = failing  # type: ignore[method-assign]
