"""A run tells what it does: lines that read well in a log, bars on a terminal."""

from __future__ import annotations

import io
import json

from rich.console import Console

from frostline.progress import RunProgress
from frostline.terminal.progress import JsonProgress, PlainProgress, TerminalProgress, run_progress


def watch(progress: RunProgress, steps: int = 20) -> None:
    with progress:
        progress.say("Model: embedded")
        progress.reading(1, 2)
        progress.reading(2, 2)
        progress.left(300)
        progress.begin("Training full, freeze, seed 0", {"full": steps, "freeze": steps})
        for step in range(steps):
            progress.left(299 - step)
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
    assert lines[-1].endswith("  5 min left of the whole run")
    assert "About 5 min from here to the report" in file.getvalue()


def test_a_terminal_gets_bars_that_go_away() -> None:
    file = io.StringIO()
    progress = run_progress(Console(file=file, force_terminal=True, width=120))
    assert isinstance(progress, TerminalProgress)
    watch(progress)
    assert "Training full, freeze, seed 0" in file.getvalue()


def test_a_terminal_shows_what_is_left_of_the_whole_run() -> None:
    file = io.StringIO()
    with TerminalProgress(Console(file=file, force_terminal=True, width=120)) as progress:
        progress.left(4000)
        progress.begin("Training full, seed 0", {"full": 20})
        progress.step("full", 9, 2.5, 512, 0.5)
        progress.left(600)
    shown = file.getvalue()
    assert "About 67 min from here to the report" in shown
    assert "10 min left" in shown
    assert "10/20" in shown


def test_scripts_get_a_json_object_a_line_with_the_seconds_left_of_the_whole_run() -> None:
    file = io.StringIO()
    watch(JsonProgress(file), steps=2)
    events = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [event["event"] for event in events[:5]] == ["say", "reading", "reading", "left", "begin"]
    steps = [event for event in events if event["event"] == "step"]
    assert steps[-1] == {
        "event": "step", "arm": "full", "step": 1, "loss_nats": 2.49, "tokens": 512, "seconds": 0.5,
        "seconds_left": 298,
    }  # fmt: skip
    assert events[-1] == {"event": "say", "text": "Done [not markup]", "seconds_left": 298}


def test_square_brackets_in_a_name_are_shown_and_not_obeyed() -> None:
    for console in (Console(file=io.StringIO()), Console(file=io.StringIO(), force_terminal=True)):
        watch(run_progress(console))
        assert isinstance(console.file, io.StringIO)
        assert "Done [not markup]" in console.file.getvalue()


def test_speed_of_an_instant_step_is_no_error() -> None:
    with PlainProgress(Console(file=io.StringIO())) as progress:
        progress.begin("x", {"a": 1})
        progress.step("a", 0, 1.0, 512, 0.0)
