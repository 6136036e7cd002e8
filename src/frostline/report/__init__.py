"""How does a person see a run? The report, its figures, and the Python API over frames and charts.

The pages of a corpus, of an advice and of an inspection come with torch, and so on first use alone.
"""

from typing import TYPE_CHECKING

from frostline.report import numbers
from frostline.report.blind_page import BLIND_FILE, render_blind, write_blind
from frostline.report.cards import spread_note
from frostline.report.numbers import MISSING
from frostline.report.opened import Run, open_run
from frostline.report.page import SYMBOLS, alerts_of, row_facts, rules_of
from frostline.report.plots import NothingMeasured, RunPlots
from frostline.report.write import render_report, write_data, write_figures, write_report

if TYPE_CHECKING:
    from frostline.report.advice_page import write_advice
    from frostline.report.corpus_page import corpus_facts, looks_sentence, sizes_of, write_corpora
    from frostline.report.inspection_page import sentences_of, write_inspection

__all__ = [
    "BLIND_FILE",
    "MISSING",
    "SYMBOLS",
    "NothingMeasured",
    "Run",
    "RunPlots",
    "alerts_of",
    "corpus_facts",
    "looks_sentence",
    "numbers",
    "open_run",
    "render_blind",
    "render_report",
    "row_facts",
    "rules_of",
    "sentences_of",
    "sizes_of",
    "spread_note",
    "write_advice",
    "write_blind",
    "write_corpora",
    "write_data",
    "write_figures",
    "write_inspection",
    "write_report",
]

_HOMES = {
    "corpus_facts": "corpus_page",
    "looks_sentence": "corpus_page",
    "sentences_of": "inspection_page",
    "sizes_of": "corpus_page",
    "write_advice": "advice_page",
    "write_corpora": "corpus_page",
    "write_inspection": "inspection_page",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'frostline.report' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"frostline.report.{_HOMES[name]}"), name)
