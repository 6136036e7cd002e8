"""What do all figures share? Data without NaN, domains that survive huge intervals, a dot with its interval.

With two replicates a t interval is 12.7 standard errors wide on either side. Domains follow the values, and an interval
that leaves the figure is cut at its edge, so that the values stay readable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import altair as alt
import polars as pl

from frostline.report.style import SMALL_TEXT_SIZE, Style

AnyChart = alt.Chart | alt.LayerChart | alt.ConcatChart | alt.FacetChart
MOST_ROWS = 600
"""Steps drawn of one line at most: more cannot be told apart at this size."""
MOST_TOLD = 48
"""Steps of one line, at most, whose values are told where one points at them."""


def data_of(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` as a chart's data: what is not finite is null."""
    return frame.with_columns(
        pl.when(pl.col(name).is_finite()).then(pl.col(name))
        for name, kind in frame.schema.items()
        if kind == pl.Float64()
    )


def finish(chart: AnyChart, style: Style) -> AnyChart:
    """`chart` with the style's configuration: the last thing done to it."""
    chart["config"] = dict(style.config())
    return chart


def stacked(*charts: alt.Chart | alt.LayerChart) -> alt.LayerChart:
    """`charts` drawn over one another, the last on top."""
    return alt.LayerChart(layer=list(charts))


def fitted(chart: alt.Chart | alt.LayerChart, width: int, height: int) -> alt.Chart | alt.LayerChart:
    """`chart` with axes and legend inside `width` pixels."""
    sized: alt.Chart | alt.LayerChart = chart.properties(
        width=width, height=height, autosize=alt.AutoSizeParams(type="fit-x", contains="padding")
    )
    return sized


def side_by_side(charts: Sequence[alt.Chart | alt.LayerChart], columns: int) -> alt.ConcatChart:
    """Panels in rows of `columns`, each with scales of its own unless its encodings say otherwise."""
    together: alt.ConcatChart = alt.concat(*charts, columns=columns)
    return together


def scale_over(values: Iterable[float | None], *, reach: Iterable[float | None] = (), zero: bool = False) -> alt.Scale:
    """The scale of `domain_of`; 0 is in it only where `zero` says so."""
    return alt.Scale(domain=domain_of([*values], reach=[*reach], zero=zero), zero=False, nice=False)


def reference_rule(values: Sequence[Mapping[str, object]], style: Style) -> alt.Chart:
    """A dashed line at each of `values`, which the encoding names: what the arms are to be compared with."""
    drawn: alt.Chart = alt.Chart(alt.InlineData(values=list(values))).mark_rule(
        color=style.palette.muted, strokeDash=[4, 3], strokeWidth=1.2
    )
    return drawn


def thinned(frame: pl.DataFrame, most: int = MOST_ROWS) -> pl.DataFrame:
    """Every k-th step and the last one, such that at most about `most` steps remain."""
    steps = frame.get_column("step").unique().sort()
    if len(steps) <= most:
        return frame
    stride = -(-len(steps) // most)
    kept = pl.concat([steps.gather_every(stride), steps.tail(1)]).unique()
    return frame.filter(pl.col("step").is_in(kept.to_list()))


def told_on_hover(frame: pl.DataFrame, most: int = MOST_TOLD) -> alt.Chart:
    """Points of a line that are not seen: a page tells the values of the one that is pointed at."""
    points = thinned(data_of(frame).drop_nulls(), most)
    unseen: alt.Chart = alt.Chart(alt.InlineData(values=points.to_dicts())).mark_circle(size=140, opacity=0, clip=True)
    return unseen


def domain_of(values: Sequence[float | None], *, reach: Sequence[float | None] = (), zero: bool = False) -> list[float]:
    """An axis over all `values`, stretched towards `reach` (ends of intervals) by as much as their own spread again."""
    finite = [value for value in values if value is not None and abs(value) < float("inf")]
    if not finite:
        return [0.0, 1.0]
    if zero:
        finite.append(0.0)
    low, high = min(finite), max(finite)
    spread = max(high - low, 0.02 * max(abs(high), abs(low)), 1e-12)
    ends = [value for value in reach if value is not None and abs(value) < float("inf")]
    low = min([low, *(max(value, low - spread) for value in ends)])
    high = max([high, *(min(value, high + spread) for value in ends)])
    edge = 0.06 * max(high - low, spread)
    return [low if zero and low == 0 else low - edge, high if zero and high == 0 else high + edge]


def arm_colour(style: Style, arms: Sequence[str], *, legend: bool = True, columns: int = 0) -> alt.Color:
    """Colour by arm, the same in every figure."""
    domain, colours = style.scale(arms)
    key = None
    if legend:
        key = alt.Legend(title=None, columns=columns, symbolType="stroke", symbolStrokeWidth=3, symbolSize=260)
    return alt.Color("arm:N", scale=alt.Scale(domain=domain, range=colours), legend=key)


def arm_legend(frame: pl.DataFrame, style: Style, width: int) -> alt.Color:
    """Colour by arm with a legend of the arms in `frame`, as many beside each other as fit into `width` pixels."""
    arms = frame.get_column("arm").unique().to_list()
    return arm_colour(style, arms, columns=_legend_columns(width, arms))


def _legend_columns(width: int, arms: Sequence[str]) -> int:
    """How many names of arms fit beside each other."""
    longest = max((len(arm) for arm in arms), default=1)
    return max(1, width // (7 * longest + 34))


def dots(
    estimates: pl.DataFrame,
    style: Style,
    *,
    title: str,
    format: str = "~g",
    heading: str = "",
    zero: bool = False,
    marks: Sequence[float | None] = (),
) -> alt.LayerChart:
    """Arms from top to bottom, each a dot with its interval; `marks` are further values the axis must hold."""
    reach = [*estimates.get_column("low"), *estimates.get_column("high")]
    scale = scale_over([*estimates.get_column("value"), *marks], reach=reach, zero=zero)
    arms = estimates.get_column("arm").unique().to_list()
    base = alt.Chart(data_of(estimates)).encode(y=arm_rows(style, arms), color=arm_colour(style, arms, legend=False))
    across = alt.Axis(format=format, tickCount=4, labelFlush=False)
    ruled = base.mark_rule(strokeWidth=2, opacity=0.55, clip=True).encode(
        x=alt.X("low:Q", scale=scale, title=title, axis=across), x2="high:Q"
    )
    dotted = base.mark_circle(size=70, opacity=1).encode(x=alt.X("value:Q", scale=scale, title=title, axis=across))
    layered: alt.LayerChart = stacked(ruled, dotted)
    if heading:
        layered = layered.properties(title=heading)
    return layered


def arm_rows(style: Style, arms: Sequence[str]) -> alt.Y:
    """One row an arm, in the recipe's order."""
    order = [arm for arm in style.arms if arm in arms]
    axis = alt.Axis(domain=False, labelColor=style.palette.ink, labelFontSize=SMALL_TEXT_SIZE)
    return alt.Y("arm:N", sort=order, title=None, scale=alt.Scale(domain=order, paddingInner=0.35), axis=axis)


def name_width(style: Style) -> int:
    """Pixels that the longest arm name takes left of a panel."""
    return min(150, 8 + round(6.4 * max((len(arm) for arm in style.arms), default=1)))
