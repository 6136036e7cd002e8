"""What did it cost? Time a step, the saving r next to what the plan's operations allow, peak memory."""

from __future__ import annotations

import altair as alt
import polars as pl

from frostline.report.figures.parts import AnyChart, arm_rows, data_of, dots, finish, name_width, side_by_side, stacked
from frostline.report.style import WIDE, Style


def time_chart(estimates: pl.DataFrame, ceilings: pl.DataFrame, style: Style, width: int = WIDE) -> AnyChart:
    """Seconds a step as bars with intervals; saving r as dots with intervals, ticks at the plan's ceilings.

    `estimates` is the frame of `Run.estimates()` and `ceilings` has arm, ceiling, ceiling_cached, of one variant.
    """
    times = estimates.filter(pl.col("measure") == "step_seconds")
    savings = estimates.filter(pl.col("measure") == "saving")
    names = name_width(style)
    columns = 2 if width > 500 and savings.height else 1
    inner = (width - names * columns - 30) // columns
    panels: list[alt.Chart | alt.LayerChart] = [
        _bars(times, style, "seconds", "~g", "Time a step").properties(width=inner, height=_height(times))
    ]
    if savings.height:
        ticks = ceilings.filter(pl.col("arm").is_in(savings.get_column("arm").to_list())).unpivot(
            on=["ceiling", "ceiling_cached"], index="arm", variable_name="kind", value_name="at"
        )
        panel = dots(
            savings, style, title="share of the baseline's time", format="~%", heading="Saving r", zero=True,
            marks=ticks.get_column("at").to_list(),
        )  # fmt: skip
        panels.append(stacked(_ceilings(ticks, style), panel).properties(width=inner, height=_height(savings)))
    return finish(side_by_side(panels, columns), style)


def memory_chart(memory: pl.DataFrame, style: Style, width: int = WIDE) -> AnyChart:
    """Peak memory of each arm, measured alone; the mark is the size of the model's own weights."""
    gigabytes = memory.group_by("arm", maintain_order=True).agg(
        value=pl.col("peak_bytes").max() / 1e9, weights=pl.col("model_bytes").max() / 1e9
    )
    gigabytes = gigabytes.with_columns(low=pl.lit(None, pl.Float64()), high=pl.lit(None, pl.Float64()))
    bars = _bars(gigabytes, style, "peak memory (GB)", "~g", "")
    weights = (
        alt.Chart(data_of(gigabytes.select("arm", "weights")))
        .mark_tick(color=style.palette.ink, thickness=2, size=16)
        .encode(x="weights:Q", y=alt.Y("arm:N", sort=list(style.arms)))
    )
    layered = stacked(bars, weights).properties(width=width - name_width(style) - 20, height=_height(gigabytes))
    return finish(layered, style)


def _bars(frame: pl.DataFrame, style: Style, title: str, format: str, heading: str) -> alt.LayerChart:
    present = frame.get_column("arm").to_list()
    domain, colours = style.scale(present)
    highest = max((value for value in frame.get_column("value") if value is not None), default=1.0)
    reach = [value for value in frame.get_column("high") if value is not None]
    scale = alt.Scale(domain=[0, min(max([highest, *reach]), 1.6 * highest) * 1.02], nice=False)
    base = alt.Chart(data_of(frame)).encode(y=arm_rows(style, present))
    across = alt.X("value:Q", scale=scale, title=title, axis=alt.Axis(format=format, tickCount=4))
    colour = alt.Color("arm:N", scale=alt.Scale(domain=domain, range=colours), legend=None)
    drawn = base.mark_bar(cornerRadiusEnd=2, opacity=0.32).encode(x=across, color=colour)
    low = alt.X("low:Q", scale=scale, title=title)
    ruled = base.mark_rule(strokeWidth=2, clip=True).encode(x=low, x2="high:Q", color=colour)
    dotted = base.mark_circle(size=70, opacity=1).encode(x=across, color=colour)
    layered: alt.LayerChart = stacked(drawn, ruled, dotted)
    return layered.properties(title=heading) if heading else layered


def _ceilings(ticks: pl.DataFrame, style: Style) -> alt.LayerChart:
    """A solid tick at the ceiling of a truncated backward, a dashed one with a stored prefix."""
    base = alt.Chart(data_of(ticks))
    row = alt.Y("arm:N", sort=list(style.arms))
    solid = (
        base.transform_filter("datum.kind === 'ceiling'")
        .mark_tick(color=style.palette.ink, thickness=2, size=16)
        .encode(x="at:Q", y=row)
    )
    cached = (
        base.transform_filter("datum.kind === 'ceiling_cached'")
        .mark_tick(color=style.palette.muted, thickness=1.2, size=16)
        .encode(x="at:Q", y=row)
    )
    layered: alt.LayerChart = stacked(cached, solid)
    return layered


def _height(frame: pl.DataFrame) -> int:
    return max(60, 34 * frame.get_column("arm").n_unique())
