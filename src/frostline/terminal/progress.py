"""What does the terminal show while a run goes on? Bars for each arm on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from frostline.progress import RunProgress
from frostline.text import visible

PLAIN_REPORTS = 10
"""Progress lines of one replicate where there is no terminal."""


def run_progress(console: Console) -> RunProgress:
    """Bars where `console` is a terminal, else plain lines."""
    return TerminalProgress(console) if console.is_terminal else PlainProgress(console)


class TerminalProgress:
    """One bar for each arm, with its loss and speed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", justify="right"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def say(self, text: str) -> None:
        self._drop_tasks("reading")
        self._console.print(Text.assemble((_clock(), "dim"), " ", visible(text)))

    def reading(self, done: int, total: int) -> None:
        if "reading" not in self._tasks:
            self._tasks["reading"] = self._bars.add_task("corpus", total=total, detail="tokens", completed=done)
        self._bars.update(self._tasks["reading"], completed=done, total=total)
        if done >= total:
            self._drop_tasks("reading")

    def begin(self, title: str, arms: list[str], steps: int) -> None:
        self.say(title)
        for arm in arms:
            self._tasks[arm] = self._bars.add_task(f"[bold]{arm}[/]", total=steps, detail="")

    def step(self, arm: str, step: int, loss_nats: float, tokens: int, seconds: float) -> None:
        detail = f"loss {loss_nats:.3f}  {_speed(tokens, seconds)}"
        self._bars.update(self._tasks[arm], completed=step + 1, detail=detail)

    def end(self) -> None:
        self._drop_tasks(*self._tasks)

    def _drop_tasks(self, *names: str) -> None:
        for name in names:
            task = self._tasks.pop(name, None)
            if task is not None:
                self._bars.remove_task(task)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()


class PlainProgress:
    """Lines that read well in a log file."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._losses: dict[str, str] = {}
        self._steps = 0
        self._arms = 0
        self._taken = 0
        self._left: dict[str, int] = {}
        self._started = 0.0

    def say(self, text: str) -> None:
        self._console.print(f"{_clock()} {visible(text)}", highlight=False, markup=False, soft_wrap=True)

    def reading(self, done: int, total: int) -> None:
        """A log needs no line for each block."""

    def begin(self, title: str, arms: list[str], steps: int) -> None:
        self.say(title)
        self._losses, self._steps, self._arms, self._taken = {}, steps, len(arms), 0
        self._left = dict.fromkeys(arms, steps)
        self._started = time.monotonic()

    def step(self, arm: str, step: int, loss_nats: float, tokens: int, seconds: float) -> None:
        self._losses[arm] = f"{arm} {loss_nats:.3f} ({_speed(tokens, seconds)})"
        self._taken += 1
        self._left[arm] = self._steps - step - 1  # an arm that goes on after a resume has fewer
        every = max(1, self._steps // PLAIN_REPORTS)
        if self._taken % self._arms == 0 and ((step + 1) % every == 0 or step + 1 == self._steps):
            left = (time.monotonic() - self._started) / self._taken * sum(self._left.values())
            losses = "  ".join(self._losses[name] for name in sorted(self._losses))
            self.say(f"  step {step + 1}/{self._steps}  {losses}  {_duration(left)} left")

    def end(self) -> None:
        """Nothing to take off the screen."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def _speed(tokens: int, seconds: float) -> str:
    return f"{tokens / max(seconds, 1e-9):,.0f} tokens/s"


def _clock() -> str:
    return time.strftime("%H:%M:%S")


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
