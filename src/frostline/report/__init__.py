"""How does a person see a run? The report, its figures, and the Python API over frames and charts."""

from frostline.report.advice_page import write_advice
from frostline.report.inspection_page import sentences_of, write_inspection
from frostline.report.numbers import MISSING
from frostline.report.opened import Run, open_run
from frostline.report.page import SYMBOLS, alerts_of
from frostline.report.plots import NothingMeasured, RunPlots
from frostline.report.write import render_report, write_figures, write_report

__all__ = [
    "MISSING",
    "SYMBOLS",
    "NothingMeasured",
    "Run",
    "RunPlots",
    "alerts_of",
    "open_run",
    "render_report",
    "sentences_of",
    "write_advice",
    "write_figures",
    "write_inspection",
    "write_report",
]
