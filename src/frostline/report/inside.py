"""What do the signals of a model show a reader? Maps and curves, with what each one means and where it comes from."""

from __future__ import annotations

import polars as pl

from frostline.report.figures.inside import head_maps, layer_curves, signal_maps
from frostline.report.sections import PlainFigure, PlainSection
from frostline.report.style import Style
from frostline.report.table import Table
from frostline.signals import KINDS

STYLE = Style((), "")


def signal_sections(signals: pl.DataFrame) -> list[PlainSection]:
    """Maps of the signals of matrices, curves of all others, and what they are. Columns as `advise.as_frame` has."""
    found = set(signals.get_column("signal").unique().to_list())
    places = {name: kind for name, kind in KINDS.items() if name in found}
    maps = {name: kind.title for name, kind in places.items() if kind.places == "matrices"}
    curves = {name: kind.title for name, kind in places.items() if kind.places != "matrices"}
    heads = {name: kind.title for name, kind in places.items() if kind.places == "heads"}
    of_heads = "head" in signals.columns and signals.get_column("head").is_not_null().any()
    own = signals.filter(pl.col("head").is_null()) if "head" in signals.columns else signals
    figures = []
    if maps:
        figures.append(
            PlainFigure(
                "maps",
                "Matrices, layer by layer",
                "The darker, the higher the matrix ranks by this signal; each map on its own. Layers stand bottom up.",
                "Heat maps of layers by roles, one for each signal of matrices.",
                signal_maps(own, maps, STYLE),
            )
        )
    if curves:
        figures.append(
            PlainFigure(
                "curves",
                "Layers, from the bottom up",
                "Each signal on a scale of its own; what it means is in the table below.",
                "Line charts over the layers, one for each signal of layers.",
                layer_curves(own, curves, STYLE),
            )
        )
    if heads and of_heads:
        figures.append(
            PlainFigure(
                "heads",
                "Attention, head by head",
                "The darker, the higher the head ranks; each map on its own. Layers stand bottom up.",
                "Heat maps of layers by attention heads.",
                head_maps(signals, heads, STYLE),
            )
        )
    rows = []
    for name, kind in places.items():
        rows.append((kind.title, f"by {name}" if kind.chooses else "", f"{kind.meaning} {kind.source}"))
    words = Table(("signal", "in a plan", "what a high value means, and the source"), tuple(rows))
    return [
        PlainSection("Inside the model", ("Measured on training windows before any training.",), tuple(figures)),
        PlainSection("What the signals are", tables=(words,)),
    ]
