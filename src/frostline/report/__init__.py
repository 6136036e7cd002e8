"""How does a person see a run? The report, its figures, the terminal, and the Python API over frames and charts."""

from frostline.report.open_run import Run, open_run
from frostline.report.plots import NothingMeasured, RunPlots
from frostline.report.terminal import show_run
from frostline.report.write import render_report, write_figures, write_report

__all__ = [
    "NothingMeasured",
    "Run",
    "RunPlots",
    "open_run",
    "render_report",
    "show_run",
    "write_figures",
    "write_report",
]
