"""Weights & Biases: a folder of its own for each run, offline unless the user has set WANDB_MODE=online.

A folder that a killed process has left is removed and told anew, whole: so there is one folder of each run to `wandb
sync`. Where its server is told at once, that says how far.
"""

from __future__ import annotations

import html
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from frostline.trackers.tracker import NOTHING, Row, Status, TrackedRun

MARK = "frostline.json"
"""Lies in the folder of a run of which all is told."""


class _Run(Protocol):
    """What is used of `wandb.Run`."""

    dir: str
    resumed: bool
    starting_step: int

    def log(self, data: dict[str, object], *, step: int) -> None: ...

    def finish(self, exit_code: int) -> None: ...


class _Package(Protocol):
    """What is used of `wandb`."""

    def init(self, **options: object) -> _Run: ...

    def Settings(self, **options: object) -> object: ...  # noqa: N802

    def Html(self, data: str, *, inject: bool) -> object: ...  # noqa: N802

    def Table(self, *, columns: list[str], data: list[list[object]]) -> object: ...  # noqa: N802


class WholeRun:
    """A run of which an earlier process has told all."""

    def __init__(self, told_until: int) -> None:
        self.told_until = told_until

    def tell(self, rows: Sequence[Row]) -> None:
        raise AssertionError("told after its end")

    def end(self, status: Status) -> None:
        pass


class WandbRun:
    """One run of wandb's."""

    def __init__(self, run: _Run, wandb: _Package, *, offline: bool) -> None:
        self._run, self._wandb, self._offline = run, wandb, offline
        self.told_until: int = run.starting_step - 1 if run.resumed and not offline else NOTHING

    def tell(self, rows: Sequence[Row]) -> None:
        for row in rows:
            content: dict[str, object] = {**row.values}
            for name, markdown in row.texts.items():
                if name not in row.tables:
                    content[name] = self._wandb.Html(_preformatted(markdown), inject=False)
            for name, table in row.tables.items():
                data: list[list[object]] = [list(cells) for cells in table.rows]
                content[name] = self._wandb.Table(columns=list(table.columns), data=data)
            self._run.log(content, step=row.step)
            self.told_until = row.step

    def end(self, status: Status) -> None:
        folder = Path(self._run.dir).parent
        self._run.finish(exit_code=1 if status == "failed" else 0)
        if self._offline and status == "finished":
            (folder / MARK).write_text(json.dumps({"told_until": self.told_until}), encoding="utf-8")


class Wandb:
    """Where wandb keeps its runs."""

    def __init__(self, wandb: _Package, folder: Path) -> None:
        self._wandb, self._folder = wandb, folder
        self._offline = os.environ["WANDB_MODE"] == "offline"
        folder.mkdir(parents=True, exist_ok=True)

    def open(self, run: TrackedRun) -> WandbRun | WholeRun:
        if self._offline:
            for earlier in (self._folder / "wandb").glob(f"offline-run-*-{run.key}"):
                if (earlier / MARK).exists():
                    values = json.loads((earlier / MARK).read_text(encoding="utf-8"))
                    return WholeRun(int(values["told_until"]))
                shutil.rmtree(earlier)
        settings = self._wandb.Settings(
            console="off",
            disable_git=True,
            save_code=False,
            silent=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
        )
        begun = self._wandb.init(
            project=run.project,
            id=run.key,
            name=run.name,
            group=run.group,
            config=dict(run.config),
            dir=self._folder,
            mode=os.environ["WANDB_MODE"],
            resume=None if self._offline else "allow",
            reinit="create_new",
            settings=settings,
        )
        return WandbRun(begun, self._wandb, offline=self._offline)


def opened(folder: Path) -> Wandb:
    os.environ.setdefault("WANDB_MODE", "offline")
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    import wandb

    return Wandb(cast("_Package", wandb), folder)


def _preformatted(text: str) -> str:
    return f"<pre>{html.escape(text)}</pre>"
