"""What can be read from a run folder? `open_run(path)`: its summary, its tables as polars frames, its charts."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from frostline.report.plots import RunPlots
from frostline.report.tables import RunTables
from frostline.run_folder import read_journal
from frostline.stats import summary_in_its_time


@dataclass(frozen=True)
class Run(RunTables):
    """One run, as `open_run` reads it: its summary, its tables, its charts."""

    @property
    def plot(self) -> RunPlots:
        """The charts: `run.plot.loss()`, ..."""
        return RunPlots(self)


def open_run(path: str | PathLike[str]) -> Run:
    """The run in the folder `path`; its summary is read from summary.json, or made from the journal if there is none.

    Where earlier rules judged the run, its answer and its claims stay what they said (`summary.judged_by`).

    Raises `RunFolderError` if the folder is missing, is no run folder, or is damaged.
    """
    folder = Path(path)
    lines = read_journal(folder)
    return Run(folder, summary_in_its_time(folder), lines)
