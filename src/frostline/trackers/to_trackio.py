"""Trackio's own database in a folder, or, if the user's environment names one, a server or a Space of theirs.

It samples the processor unasked, and asks the hub who its user is; neither is wanted. What it cannot keep it warns of
and drops: here a warning is an error.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from frostline.errors import FrostlineError
from frostline.trackers.tracker import NOTHING, Row, Status, TrackedRun


class _Run(Protocol):
    """What is used of `trackio.Run`."""

    _next_step: int
    """One more than the last step that its database has, wherever that is."""

    def log(self, metrics: dict[str, object], *, step: int) -> None: ...

    def finish(self) -> None: ...


class _Package(Protocol):
    """What is used of `trackio`."""

    def init(self, project: str, **options: object) -> _Run: ...

    def Markdown(self, text: str) -> object: ...  # noqa: N802

    def Table(self, *, columns: list[str], data: list[list[object]]) -> object: ...  # noqa: N802


class TrackioRun:
    """One run of trackio's."""

    def __init__(self, run: _Run, trackio: _Package, warned: list[str]) -> None:
        self._run, self._trackio, self._warned = run, trackio, warned
        self.told_until: int = run._next_step - 1

    def tell(self, rows: Sequence[Row]) -> None:
        for row in rows:
            content: dict[str, object] = {**row.values}
            for name, markdown in row.texts.items():
                content[name] = self._trackio.Markdown(markdown)
            for name, table in row.tables.items():
                data: list[list[object]] = [list(cells) for cells in table.rows]
                content[f"{name}_table"] = self._trackio.Table(columns=list(table.columns), data=data)
            self._run.log(content, step=row.step)
            self.told_until = row.step
        self._require_kept()

    def end(self, status: Status) -> None:
        self._run.finish()
        self._require_kept()

    def _require_kept(self) -> None:
        if self._warned:
            raise FrostlineError(f"trackio: {self._warned[0]}")


class Trackio:
    """Where trackio keeps its projects."""

    def __init__(self, trackio: _Package) -> None:
        self._trackio = trackio
        self._warned: list[str] = []
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", message=r"(?s).*(trackio|flush all logs)")
        warnings.showwarning = lambda message, *_, **__: self._warned.append(str(message))

    def open(self, run: TrackedRun) -> TrackioRun:
        from trackio import context_vars

        context_vars.current_run.set(None)  # else it ends the run that was opened before
        begun = self._trackio.init(
            run.project,
            name=f"{run.name}-{run.key[:6]}",
            group=run.group,
            config=dict(run.config),
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
        opened = TrackioRun(begun, self._trackio, self._warned)
        opened._require_kept()
        assert opened.told_until >= NOTHING
        return opened


def opened(folder: Path) -> Trackio:
    os.environ.setdefault("TRACKIO_DIR", str(folder))
    if not os.environ.get("TRACKIO_SPACE_ID"):
        os.environ["HF_HUB_OFFLINE"] = "1"
    import trackio

    return Trackio(cast("_Package", trackio))
