"""Does a run go on, and what is it at? What its folder says beside the journal: its lock, its note of its work."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

from frostline.run_folder import (
    JOURNAL_FOLDER,
    REPORT_FILE,
    RUN_FILE,
    Writer,
    resident_bytes,
    work_now,
    writer_of,
)

AT = {
    "settle": "finding out how to train it",
    "fill": "filling the prefix cache",
    "begin": "beginning",
    "step": "training",
    "evaluate": "evaluating",
    "text": "writing text",
    "memory": "measuring memory",
    "report": "writing the report",
}
"""Kinds of work in words."""
TAIL = 4096
"""Bytes at the end of the run's file among which its last line begins, where that says how the run ended."""


@dataclass(frozen=True)
class Standing:
    """How a run stands."""

    status: str
    """`going on`, `finished`, `interrupted` (it saved and stopped), `stopped` (it was killed), `not begun`."""
    writer: Writer | None
    now: str = ""
    """What it is at, in words."""
    seconds_left: float | None = None
    memory: int | None = None
    """Bytes that its process holds."""


def standing_of(run_folder: Path, ended: str) -> Standing:
    """How the run in `run_folder` stands, of which the journal last said that it had `ended` so; '' if it had not."""
    writer = writer_of(run_folder)
    if writer is None:
        status = ended or ("stopped" if (run_folder / JOURNAL_FOLDER).exists() else "not begun")
        return Standing(status, None)
    if ended == "finished":
        return Standing(ended, writer)  # it is only looked at, by 'frostline verify'
    work = work_now(run_folder)
    now, left = "", None
    if work is not None:
        who = [work.place.arm] if work.place.arm else []
        who += [f"seed {work.place.seed}"] if work.place.seed >= 0 else []
        now = f"{AT.get(work.kind, work.kind)}{': ' if who else ''}{', '.join(who)}"
        if work.seconds_left is not None and work.began is not None and math.isfinite(work.seconds_left):
            left = max(0.0, work.seconds_left - max(0.0, time.time() - work.began))
    return Standing("going on", writer, now, left, resident_bytes(writer))


def how_ended(run_folder: Path) -> str:
    """`finished` or `interrupted`, as the last line of the run's own file says; '' where it says something else."""
    path = run_folder / JOURNAL_FOLDER / RUN_FILE
    if path.is_symlink() or path.parent.is_symlink():
        return ""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
    except OSError:
        return ""
    if b'"kind": "RunEnded"' not in last:
        return ""
    return "finished" if b'"status": "finished"' in last else "interrupted"


def has_report(run_folder: Path) -> bool:
    """Whether there is a report to show: a file, no link."""
    path = run_folder / REPORT_FILE
    return path.is_file() and not path.is_symlink()
