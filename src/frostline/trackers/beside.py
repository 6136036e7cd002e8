"""How does a tracker cost a run nothing? A process of its own tells it, and whatever becomes of that is told once.

`python -m frostline.trackers` is that process (`__main__`): the first line of its input says what to do, and that its
input ends is the end of the run. What it has to say are lines of JSON on its output.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from frostline.errors import FrostlineError
from frostline.run_folder import require_run_folder
from frostline.trackers.kinds import TrackerKind, usable_tracker

GRACE_SECONDS = 60.0
"""How long a tracker may take for what is left when a run has ended; then it is left, and told anew another time."""
INTERRUPTED_SECONDS = 5.0
"""How long it may take where a person does not want to wait for it."""


@dataclass(frozen=True)
class Order:
    """What a process is to tell."""

    run: str
    """The run folder, which may not be there yet."""
    tracker: str
    folder: str
    """Where the tracker keeps what it is told."""
    beside: bool
    """Whether a run goes on until the input ends; else it is over when no process writes into its folder."""


@dataclass(frozen=True)
class Tracked:
    """What a tracker has been told of a run."""

    tracker: str
    """Its name."""
    folder: Path
    """Where it keeps that, unless the environment names a server."""
    steps: int
    """Steps of all arms that it was told now; what it knew already is not counted."""
    look: str
    """The command that shows it."""


@contextmanager
def trackers_beside(run_folder: Path, names: Sequence[str], tell: Callable[[str], None]) -> Iterator[None]:
    """As long as the block lasts, the trackers of these `names` are told of the run in `run_folder`, and then the rest.

    What goes wrong with one is told by `tell`, once. Raises `FrostlineError` before the block, where a tracker's
    package is missing or its server does not answer.
    """
    kinds = [usable_tracker(name) for name in dict.fromkeys(names)]
    with ExitStack() as stack:
        for kind in kinds:
            stack.enter_context(_beside(run_folder, kind, tell))
        yield


def track_run(run_folder: Path, name: str, folder: Path | None, tell: Callable[[str], None]) -> Tracked:
    """Tell the tracker called `name` of a run, until the run is over. `tell` is told where to look.

    Raises `FrostlineError` where the tracker raises, or cannot be used.
    """
    require_run_folder(run_folder)
    kind = usable_tracker(name)
    to = kind.usual_folder(run_folder) if folder is None else folder
    process = _begun(run_folder, kind, to, beside=False)
    told: dict[str, object] = {}
    try:
        tell(f"{name}: {kind.look(to)}")
        for line in _lines(process):
            told |= line
    finally:
        _end(process, GRACE_SECONDS if told else INTERRUPTED_SECONDS)
    if "steps" not in told:
        raise FrostlineError(str(told.get("failed") or f"{name}: the process that told it has ended at once."))
    return Tracked(name, to, int(str(told["steps"])), kind.look(to))


@contextmanager
def _beside(run_folder: Path, kind: TrackerKind, tell: Callable[[str], None]) -> Iterator[None]:
    to = kind.usual_folder(run_folder)
    process = _begun(run_folder, kind, to, beside=True)
    again = f"'frostline track {run_folder} --to {kind.name}' tells it the rest."
    done = threading.Event()

    def hear() -> None:
        for line in _lines(process):
            done.set()
            if "failed" in line:
                tell(f"{line['failed']} The run goes on without it; {again}")

    listener = threading.Thread(target=hear, daemon=True)
    listener.start()
    tell(f"{kind.name}: {kind.look(to)}")
    try:
        yield
    finally:
        killed = _end(process, GRACE_SECONDS)
        listener.join(1.0)
        if not done.is_set():
            tell(f"{kind.name} {'has not taken all in time' if killed else 'was told no more'}; {again}")


def _begun(run_folder: Path, kind: TrackerKind, to: Path, *, beside: bool) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "frostline.trackers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl+C is the run's: it is told of what that saves
    )
    order = Order(str(run_folder.absolute()), kind.name, str(to.absolute()), beside)
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.write((json.dumps(asdict(order)) + "\n").encode())
        process.stdin.flush()
    return process


def _lines(process: subprocess.Popen[bytes]) -> Iterator[dict[str, object]]:
    output: IO[bytes] | None = process.stdout
    assert output is not None
    with output:
        for line in output:
            with suppress(ValueError):
                yield json.loads(line)


def _end(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Let the process tell what is left, and end; whether it took too long and was killed."""
    with suppress(BrokenPipeError):
        assert process.stdin is not None
        process.stdin.close()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with what the tracker has begun
        process.wait()
        return True
    return False
