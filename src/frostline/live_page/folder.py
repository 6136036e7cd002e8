"""Which runs are shown? One run, or those in a folder: what lies there itself, never what a link or an address names.

A name in an address is looked up among the names that are there; no path is ever made of it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from frostline.errors import RunFolderError
from frostline.live_page.arm_picture import shown
from frostline.live_page.standing import has_report, how_ended, standing_of
from frostline.run_folder import JOURNAL_FOLDER, RECIPE_FILE, holds_run
from frostline.text import is_utf8

MOST_RUNS = 500
"""Newest runs of a folder that are listed."""


@dataclass(frozen=True)
class WatchedFolder:
    """What a page shows."""

    folder: Path
    """A folder of runs, or the run itself."""
    single: bool
    """Whether it is one run."""

    def runs(self) -> dict[str, Path]:
        """Run folders by name, the newest first."""
        if self.single:
            return {self.folder.name: self.folder}
        found = []
        with suppress(OSError):
            for entry in os.scandir(self.folder):
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False) and is_utf8(path) and _looks_like_run(path):
                    found.append((entry.stat(follow_symlinks=False).st_mtime, path))
        newest = sorted(found, key=lambda own: own[0], reverse=True)[:MOST_RUNS]
        return {path.name: path for _, path in newest}

    def find(self, name: str) -> Path | None:
        """The folder of the run `name`; None where no run here is called so."""
        return self.runs().get(name)

    def listed(self) -> list[dict[str, object]]:
        """Each run with how it stands, for the list."""
        return [_listed(name, path) for name, path in self.runs().items()]


def watched_folder(path: Path, *, awaited: bool = False) -> WatchedFolder:
    """What is at `path`: a run, or a folder of runs. `awaited`: a run that is about to be made there.

    Raises `RunFolderError` where there is nothing.
    """
    path = Path(os.path.realpath(path))
    if awaited or _looks_like_run(path):
        return WatchedFolder(path, single=True)
    if not path.is_dir():
        raise RunFolderError(
            f"{path}: there is no such folder.", "Give a run folder, or a folder of runs ('runs' unless named)."
        )
    return WatchedFolder(path, single=False)


def _looks_like_run(path: Path) -> bool:
    journal = path / JOURNAL_FOLDER
    return (path / RECIPE_FILE).is_file() or (holds_run(path) and not journal.is_symlink())


def _listed(name: str, path: Path) -> dict[str, object]:
    standing = standing_of(path, how_ended(path))
    changed = 0.0
    with suppress(OSError):
        changed = (path / JOURNAL_FOLDER).stat().st_mtime
    return {
        "name": name,
        "shown": shown(name),
        "status": standing.status,
        "now": standing.now,
        "report": has_report(path),
        "changed": datetime.fromtimestamp(changed, UTC).isoformat(timespec="seconds") if changed else "",
    }
