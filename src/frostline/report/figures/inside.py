"""How does the inside of a model look? Signals of matrices as maps of layers x roles, those of layers as curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import altair as alt
import polars as pl

from frostline.report.figures.parts import AnyChart, data_of, domain_of, finish, scale_over, side_by_side, stacked
from frostline.report.figures.weights import labelled_layers, role_order
from frostline.report.style import WIDE, Style

COLUMNS = 2
CURVE_HEIGHT = 120
ROWS_OF_NAMES = 22
"""Names of plans that fit above one another in the figure of the front."""


def signal_maps(signals: pl.DataFrame, titles: Mapping[str, str], style: Style, width: int = WIDE) -> AnyChart:
    """One panel a signal: layers from bottom to top, roles from left to right; the darker, the higher its rank.

    `signals` has the columns signal, layer, role, value; `titles` says which signals, in which order.
    """
    shown = pl.col("signal").is_in(list(titles)) & pl.col("layer").is_not_null()
    cells = signals.filter(shown & ~pl.col("role").is_in(["norm", "bias"])).with_columns(
        share=pl.col("value").rank("average").over("signal") / pl.len().over("signal")
    )
    roles = role_order(cells)
    height = max(80, min(12 * cells.get_column("layer").n_unique(), 380))
    inner = (width - 70) // COLUMNS
    panels = [
        _map(cells.filter(pl.col("signal") == name), title, style, roles, (inner, height), index % COLUMNS == 0)
        for index, (name, title) in enumerate(titles.items())
    ]
    return finish(side_by_side(panels, COLUMNS), style)


def layer_curves(signals: pl.DataFrame, titles: Mapping[str, str], style: Style, width: int = WIDE) -> AnyChart:
    """One panel a signal: its value over the layers; of a signal with halves, one line each."""
    inner = (width - 110) // COLUMNS
    panels = [_curve(signals.filter(pl.col("signal") == name), title, style, inner) for name, title in titles.items()]
    return finish(side_by_side(panels, COLUMNS), style)


def head_maps(signals: pl.DataFrame, titles: Mapping[str, str], style: Style, width: int = WIDE) -> AnyChart:
    """One panel a signal: layers from bottom to top, heads from left to right; the darker, the higher its rank."""
    cells = signals.filter(pl.col("head").is_not_null() & pl.col("signal").is_in(list(titles))).with_columns(
        share=pl.col("value").rank("average").over("signal") / pl.len().over("signal")
    )
    height = max(80, min(12 * cells.get_column("layer").n_unique(), 380))
    inner = (width - 70) // COLUMNS
    panels = []
    for index, (name, title) in enumerate(titles.items()):
        first = index % COLUMNS == 0
        axis = alt.Axis(values=labelled_layers(cells), domain=False, labels=first)
        own = cells.filter(pl.col("signal") == name)
        panels.append(
            alt.Chart(data_of(own))
            .mark_rect(fill=style.palette.accent, stroke=style.palette.paper, strokeWidth=1)
            .encode(
                x=alt.X("head:O", title="head", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
                y=alt.Y("layer:O", sort="descending", title="layer" if first else None, axis=axis),
                opacity=_strength(),
            )
            .properties(width=inner, height=height, title=title)
        )
    return finish(side_by_side(panels, COLUMNS), style)


EFFECT_TITLES = {"alone": "put onto the untouched model", "removed": "taken from the trained one"}
"""Columns of effects, and what a reader calls them."""


def layer_effects(effects: pl.DataFrame, style: Style, width: int = WIDE) -> AnyChart:
    """Share of the gain that one layer's learnt change brings or takes, over the layers: columns layer, kind, share."""
    lines = (
        alt.Chart(data_of(effects))
        .mark_line(point=alt.OverlayMarkDef(size=24), strokeWidth=1.8)
        .encode(x=_layers(), y=_share_of_gain(), color=_effect_colour(style))
    )
    return finish(stacked(_nothing(style), lines).properties(width=width - 70, height=200), style)


def role_effects(effects: pl.DataFrame, style: Style, width: int = WIDE) -> AnyChart:
    """The same of one role in all layers, a row each: columns role, kind, share."""
    rows = alt.Y("role:N", sort=role_order(effects), title=None, axis=alt.Axis(domain=False))
    across = alt.X("share:Q", title="share of the gain", axis=alt.Axis(format="%", tickCount=6))
    dots = alt.Chart(data_of(effects)).mark_circle(size=80, opacity=1).encode(
        x=across, y=rows, color=_effect_colour(style)
    )  # fmt: skip
    return finish(dots.properties(width=width - 110, height=24 * effects.get_column("role").n_unique()), style)


def patch_curve(patched: pl.DataFrame, style: Style, width: int = WIDE) -> AnyChart:
    """Share of the gain that is there when the trained model computes up to a layer: columns layer, share."""
    line = (
        alt.Chart(data_of(patched))
        .mark_line(point=alt.OverlayMarkDef(size=24), strokeWidth=1.8, color=style.palette.accent)
        .encode(x=_layers(), y=_share_of_gain())
    )
    return finish(stacked(_nothing(style), line).properties(width=width - 70, height=180), style)


def _strength() -> alt.Opacity:
    """By rank, so that one extreme does not pale all others."""
    return alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.04, 1]), legend=None)


def _layers() -> alt.X:
    return alt.X("layer:Q", title="layer", axis=alt.Axis(tickMinStep=1, tickCount=8))


def _share_of_gain() -> alt.Y:
    return alt.Y("share:Q", title="share of the gain", axis=alt.Axis(format="%", tickCount=5))


def _effect_colour(style: Style) -> alt.Color:
    colours = [style.palette.accent, style.palette.arms[1]]
    scale = alt.Scale(domain=list(EFFECT_TITLES.values()), range=colours)
    return alt.Color("kind:N", scale=scale, legend=alt.Legend(title=None))


def _nothing(style: Style) -> alt.Chart:
    """A line at zero."""
    zero = alt.Chart(pl.DataFrame({"share": [0.0]}))
    line: alt.Chart = zero.mark_rule(color=style.palette.line, strokeWidth=1.5).encode(y=_share_of_gain())
    return line


def front_chart(plans: pl.DataFrame, title: str, style: Style, width: int = WIDE) -> AnyChart:
    """Held-out loss over a cost, one dot a plan; the line joins those that no other beats in both.

    Columns: plan, cost (share of full training's, which `title` names), loss, low, high, kind (`advised`, `random`,
    `other`), front.
    """
    x = alt.X(
        "cost:Q",
        title=title,
        axis=alt.Axis(format="%", tickCount=5),
        scale=scale_over(plans.get_column("cost")),
    )
    values = plans.get_column("loss").to_list()
    reach = [*plans.get_column("low").to_list(), *plans.get_column("high").to_list()]
    domain = domain_of(values, reach=reach)
    scale = alt.Scale(domain=domain, zero=False, nice=False)
    plans = plans.with_columns(name_at=pl.Series(_apart(values, (domain[1] - domain[0]) / ROWS_OF_NAMES)))
    y = alt.Y("loss:Q", title="held-out loss, nats a token", axis=alt.Axis(tickCount=5), scale=scale)
    palette = style.palette
    kinds = {"advised": palette.accent, "random": palette.refuted, "other": palette.baseline}
    scale_of_kinds = alt.Scale(domain=list(kinds), range=list(kinds.values()))
    colour = alt.Color("kind:N", scale=scale_of_kinds, legend=alt.Legend(title=None))
    base = alt.Chart(data_of(plans))
    line = (
        alt.Chart(data_of(plans.filter(pl.col("front")).sort("cost")))
        .mark_line(color=palette.line, strokeWidth=2)
        .encode(x=x, y=y)
    )
    low = alt.Y("low:Q", scale=scale)
    rules = base.mark_rule(opacity=0.5, strokeWidth=2, clip=True).encode(x=x, y=low, y2="high:Q", color=colour)
    dots = base.mark_circle(size=80, opacity=1).encode(x=x, y=y, color=colour)
    names = base.mark_text(align="left", dx=9, color=palette.ink, fontSize=11).encode(
        x=x, y=alt.Y("name_at:Q", scale=scale), text="plan:N"
    )
    return finish(stacked(line, rules, dots, names).properties(width=width - 60, height=300), style)


def _apart(values: Sequence[float], least: float) -> list[float]:
    """`values`, moved up where they are nearer than `least` to one below, so that names beside them can be read."""
    moved = list(values)
    below = -math.inf
    for place in sorted(range(len(values)), key=values.__getitem__):
        moved[place] = below = max(values[place], below + least)
    return moved


def _map(
    cells: pl.DataFrame, title: str, style: Style, roles: list[str], size: tuple[int, int], first: bool
) -> alt.Chart:
    short = "split(datum.value, '.')[1] || datum.value"
    x = alt.X(
        "role:N", sort=roles, title=None, scale=alt.Scale(domain=roles), axis=alt.Axis(labelAngle=0, labelExpr=short)
    )
    axis = alt.Axis(values=labelled_layers(cells), domain=False, labels=first)
    y = alt.Y("layer:O", sort="descending", title="layer" if first else None, axis=axis)
    chart: alt.Chart = (
        alt.Chart(data_of(cells))
        .mark_rect(fill=style.palette.accent, stroke=style.palette.paper, strokeWidth=1)
        .encode(x=x, y=y, opacity=_strength())
        .properties(width=size[0], height=size[1], title=title)
    )
    return chart


def _curve(values: pl.DataFrame, title: str, style: Style, width: int) -> alt.Chart:
    lines = values.get_column("role").unique().sort().to_list()
    colours = [style.palette.baseline, *style.palette.arms]
    chart: alt.Chart = (
        alt.Chart(data_of(values))
        .mark_line(point=alt.OverlayMarkDef(size=18), strokeWidth=1.6)
        .encode(
            x=alt.X("layer:Q", title="layer", axis=alt.Axis(tickMinStep=1, tickCount=6)),
            y=alt.Y("value:Q", title=None, axis=alt.Axis(tickCount=4, format=".3~g"), scale=alt.Scale(zero=False)),
            color=alt.Color(
                "role:N",
                scale=alt.Scale(domain=lines, range=colours[: len(lines)]),
                legend=alt.Legend(title=None) if len(lines) > 1 else None,
            ),
        )
        .properties(width=width, height=CURVE_HEIGHT, title=title)
    )
    return chart
