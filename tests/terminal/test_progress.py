"""A run tells what it does: lines that read well in a log, bars on a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from frostline.progress import RunProgress
from frostline.terminal.progress import PlainProgress, TerminalProgress, run_progress


def watch(progress: RunProgress, steps: int = 20) -> None:
    with progress:
        progress.say("Model: embedded")
        progress.reading(1, 2)
        progress.reading(2, 2)
        progress.begin("Training full, freeze, seed 0", ["full", "freeze"], steps)
        for step in range(steps):
            for arm in ("full", "freeze") if step % 2 == 0 else ("freeze", "full"):
                progress.step(arm, step, 2.5 - step / 100, 512, 0.5)
        progress.end()
        progress.say("Done [not markup]")


def test_a_log_gets_ten_lines_of_progress_with_losses_and_speed() -> None:
    file = io.StringIO()
    watch(run_progress(Console(file=file, width=200)))
    lines = [line for line in file.getvalue().splitlines() if "step " in line]
    assert len(lines) == 10
    assert "step 20/20" in lines[-1]
    assert "full 2.310 (1,024 tokens/s)" in lines[-1]
    assert "left" in lines[-1]


def test_a_terminal_gets_bars_that_go_away() -> None:
    file = io.StringIO()
    progress = run_progress(Console(file=file, force_terminal=True, width=120))
    assert isinstance(progress, TerminalProgress)
    watch(progress)
    assert "Training full, freeze, seed 0" in file.getvalue()


def test_square_brackets_in_a_name_are_shown_and_not_obeyed() -> None:
    for console in (Console(file=io.StringIO()), Console(file=io.StringIO(), force_terminal=True)):
        watch(run_progress(console))
        assert isinstance(console.file, io.StringIO)
        assert "Done [not markup]" in console.file.getvalue()


def test_speed_of_an_instant_step_is_no_error() -> None:
    with PlainProgress(Console(file=io.StringIO())) as progress:
        progress.begin("x", ["a"], 1)
        progress.step("a", 0, 1.0, 512, 0.0)
