"""What does the terminal show while a run goes on? Bars on a terminal, plain lines elsewhere, JSON for scripts.

Time left is that of the whole run, everything included, at the machine's present pace.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

from frostline.progress import NoProgress, RunProgress, UnitState
from frostline.readable import duration
from frostline.text import visible

PLAIN_REPORTS = 10
"""Progress lines of one replicate where there is no terminal."""
WHOLE_RUN = "whole run"
UNITS = "units"
MOST_UNITS = 16
"""Bars of units at work; further ones are counted."""
UNITS_SECONDS = 10.0
"""Between two lines about units where there is no terminal."""
FILLING = "prefix cache"
_FILLING_BEGINS = "Filling the prefix cache: every frozen layer at the bottom, once over all windows"


def run_progress(console: Console) -> RunProgress:
    """Bars where `console` is a terminal, else plain lines."""
    return TerminalProgress(console) if console.is_terminal else PlainProgress(console)


class TerminalProgress:
    """One bar for each arm, with its loss and speed; one for the whole run, with the time that is left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", justify="right"),
            BarColumn(bar_width=28),
            _Counts(),
            TextColumn("{task.fields[detail]}"),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        self._drop_tasks("reading")
        self._console.print(Text.assemble((_clock(), "dim"), " ", visible(text)))

    def reading(self, done: int, total: int) -> None:
        if "reading" not in self._tasks:
            self._tasks["reading"] = self._bars.add_task("corpus", total=total, detail="tokens", completed=done)
        self._bars.update(self._tasks["reading"], completed=done, total=total)
        if done >= total:
            self._drop_tasks("reading")

    def filling(self, done: int, total: int) -> None:
        if FILLING not in self._tasks:
            self.say(_FILLING_BEGINS)
            self._tasks[FILLING] = self._bars.add_task(FILLING, total=total, detail="windows x layers")
        self._bars.update(self._tasks[FILLING], completed=done, total=total)
        if done >= total:
            self._drop_tasks(FILLING)

    def begin(self, title: str, steps: dict[str, int]) -> None:
        self.say(title)
        for arm, total in steps.items():
            self._tasks[arm] = self._bars.add_task(f"[bold]{arm}[/]", total=total, detail="")

    def step(self, arm: str, step: int, loss_nats: float, tokens: int, seconds: float) -> None:
        detail = f"loss {loss_nats:.3f}  {_speed(tokens, seconds)}"
        self._bars.update(self._tasks[arm], completed=step + 1, detail=detail)

    def units(self, done: int, total: int, running: Mapping[str, UnitState]) -> None:
        shown = dict(list(running.items())[:MOST_UNITS])
        self._drop_tasks(
            *(
                name
                for name in self._tasks
                if name.startswith(UNITS) and name != UNITS and name[len(UNITS) :] not in shown
            )
        )
        for name, state in shown.items():
            task = self._tasks.get(UNITS + name)
            if task is None:
                title = f"[bold]{escape(state.title)}[/]"
                task = self._tasks[UNITS + name] = self._bars.add_task(title, total=None, detail="")
            detail = escape(visible(_of_unit(state)))
            self._bars.update(task, completed=state.steps, total=state.steps_in_all or None, detail=detail)
        if UNITS not in self._tasks:
            self._tasks[UNITS] = self._bars.add_task(UNITS, total=total, detail="")
        detail = f"{len(running)} at work" if running else ""
        self._bars.update(self._tasks[UNITS], completed=done, total=total, detail=detail)
        if done >= total:
            self._drop_tasks(*(name for name in self._tasks if name.startswith(UNITS)))

    def left(self, seconds: float) -> None:
        if WHOLE_RUN not in self._tasks:
            self.say(_in_all(seconds))
            self._tasks[WHOLE_RUN] = self._bars.add_task(WHOLE_RUN, total=1.0, detail="")
        spent = time.monotonic() - self._began
        share = spent / max(spent + seconds, 1e-9)
        self._bars.update(self._tasks[WHOLE_RUN], completed=share, detail=f"{duration(seconds)} left")

    def end(self) -> None:
        self._drop_tasks(*(name for name in self._tasks if name != WHOLE_RUN))

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


class _Counts(MofNCompleteColumn):
    """Steps taken of all, for arms; the whole run has no steps."""

    def render(self, task: Task) -> Text:
        return Text("") if task.description == WHOLE_RUN else super().render(task)


class PlainProgress:
    """Lines that read well in a log file."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._losses: dict[str, str] = {}
        self._steps: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._left: float | None = None
        self._filled: int | None = None
        """Windows x layers when that was told last."""
        self._units: tuple[int, float] = (-1, 0.0)
        """How many units were done when that was told last, and when it was."""

    def say(self, text: str) -> None:
        self._console.print(f"{_clock()} {visible(text)}", highlight=False, markup=False, soft_wrap=True)

    def reading(self, done: int, total: int) -> None:
        """A log needs no line for each block."""

    def filling(self, done: int, total: int) -> None:
        if self._filled is None:
            self.say(_FILLING_BEGINS)
            self._filled = done
        if done >= total or done - self._filled >= total / PLAIN_REPORTS:
            self.say(f"  {done:,} of {total:,} windows x layers")
            self._filled = done

    def begin(self, title: str, steps: dict[str, int]) -> None:
        self.say(title)
        self._losses, self._steps, self._last = {}, steps, dict.fromkeys(steps, -1)

    def step(self, arm: str, step: int, loss_nats: float, tokens: int, seconds: float) -> None:
        self._losses[arm] = f"{arm} {loss_nats:.3f} ({_speed(tokens, seconds)})"
        self._last[arm] = step
        last = max(self._steps.values())
        every = max(1, last // PLAIN_REPORTS)
        behind = {name for name, reached in self._last.items() if reached == step - 1 < self._steps[name] - 1}
        if not behind and ((step + 1) % every == 0 or step + 1 == last):
            losses = "  ".join(self._losses[name] for name in sorted(self._losses))
            left = "" if self._left is None else f"  {duration(self._left)} left of the whole run"
            self.say(f"  step {step + 1}/{last}  {losses}{left}")

    def units(self, done: int, total: int, running: Mapping[str, UnitState]) -> None:
        told, at = self._units
        if done == told and (time.monotonic() - at < UNITS_SECONDS or not running):
            return
        self._units = (done, time.monotonic())
        states = [f"{state.title} ({_of_unit(state)})" for state in list(running.values())[:MOST_UNITS]]
        left = "" if self._left is None else f"  {duration(self._left)} left of the whole run"
        self.say(f"  {done:,} of {total:,} units  {'  '.join(states)}{left}")

    def left(self, seconds: float) -> None:
        if self._left is None:
            self.say(_in_all(seconds))
        self._left = seconds

    def end(self) -> None:
        """Nothing to take off the screen."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Sentences(NoProgress):
    """What is done, in sentences, for commands that take a minute and no more."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        self._console.print(visible(text), style="dim", markup=False, highlight=False)


class JsonProgress:
    """One JSON object a line for whatever happens, for scripts: `event`, its own fields, and `seconds_left`."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._left: float | None = None

    def say(self, text: str) -> None:
        self._write("say", text=text)

    def reading(self, done: int, total: int) -> None:
        self._write("reading", done=done, total=total)

    def filling(self, done: int, total: int) -> None:
        self._write("filling", done=done, total=total)

    def begin(self, title: str, steps: dict[str, int]) -> None:
        self._write("begin", title=title, arms=list(steps), steps=max(steps.values()), steps_of_arms=steps)

    def step(self, arm: str, step: int, loss_nats: float, tokens: int, seconds: float) -> None:
        self._write("step", arm=arm, step=step, loss_nats=loss_nats, tokens=tokens, seconds=seconds)

    def units(self, done: int, total: int, running: Mapping[str, UnitState]) -> None:
        self._write("units", done=done, total=total, running={name: asdict(state) for name, state in running.items()})

    def left(self, seconds: float) -> None:
        first, self._left = self._left is None, seconds
        if first:
            self._write("left")

    def end(self) -> None:
        self._write("end")

    def _write(self, event: str, **values: object) -> None:
        left = None if self._left is None else round(self._left, 1)
        print(json.dumps({"event": event, **values, "seconds_left": left}), file=self._file, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def _in_all(seconds: float) -> str:
    return f"About {duration(seconds)} from here to the report, as far as this machine's speed tells"


def _of_unit(state: UnitState) -> str:
    """How far a unit is, in a few words."""
    loss = "" if state.loss_nats is None else f"loss {state.loss_nats:.3f}"
    steps = f"step {state.steps:,}/{state.steps_in_all:,}" if state.steps_in_all else ""
    return "  ".join(part for part in (steps, loss) if part) or state.doing


def _speed(tokens: int, seconds: float) -> str:
    return f"{tokens / max(seconds, 1e-9):,.0f} tokens/s"


def _clock() -> str:
    return time.strftime("%H:%M:%S")
