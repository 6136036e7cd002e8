"""How long has a run been worked on? Each process that writes into its folder leaves a line in `sessions.jsonl`.

Nothing follows from it but the run's total time: results do not depend on how often a run was stopped.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from frostline.run_folder.folder import JOURNAL_FOLDER, SESSIONS_FILE
from frostline.storage import disk_trouble, time_on_disk


@dataclass(frozen=True)
class Session:
    """One process's work on a run."""

    began_at: float
    """Seconds since 1970, by the clock of the run folder's disk: machines that take turns may have others."""
    seconds_before: float
    """That earlier processes spent on the run, as far as they can be known."""


def begin_session(run_folder: Path) -> Session:
    """Note that this process goes on with the run. Raises `RunFolderError` where it cannot be written."""
    earlier = _last(run_folder)
    before = 0.0
    if earlier is not None:
        # A killed process cannot say how long it lived: its last line in the journal does.
        journal = [path.stat().st_mtime for path in (run_folder / JOURNAL_FOLDER).glob("*.jsonl")]
        before = earlier.seconds_before + max(0.0, max(journal, default=0.0) - earlier.began_at)
    try:
        session = Session(time_on_disk(run_folder), before)
    except OSError as error:
        raise disk_trouble(error, run_folder) from error
    _append(run_folder, asdict(session))
    return session


def end_session(run_folder: Path, status: str, checkpoints: int, checkpoint_seconds: float, seconds: float) -> None:
    """Note how this process's work ended, and what saving took of it. Raises `RunFolderError`."""
    values = {
        "status": status,
        "seconds": seconds,
        "checkpoints": checkpoints,
        "checkpoint_seconds": checkpoint_seconds,
    }
    _append(run_folder, values)


def _append(run_folder: Path, values: dict[str, object]) -> None:
    path = run_folder / SESSIONS_FILE
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
    except OSError as error:
        raise disk_trouble(error, path) from error


def _last(run_folder: Path) -> Session | None:
    """The newest beginning; lines that a full disk or a killed process cut short are passed over."""
    path = run_folder / SESSIONS_FILE
    found = None
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            values = json.loads(text)
            found = Session(float(values["began_at"]), float(values["seconds_before"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found
