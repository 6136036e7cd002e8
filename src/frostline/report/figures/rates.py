"""How does the loss depend on the learning rate? A curve for each arm, over the rates that it raced."""

from __future__ import annotations

import altair as alt
import polars as pl

from frostline.report.figures.parts import (
    AnyChart,
    arm_colour,
    data_of,
    domain_of,
    finish,
    fitted,
    legend_columns,
    stacked,
)
from frostline.report.style import SMALL_TEXT_SIZE, WIDE, Style

RATE_AXIS = alt.Axis(format=".0e", labelOverlap=True, grid=False)
MARGIN = 1.6
"""The axis of rates goes on by this factor beyond the lowest and the highest one."""


def rates_chart(trials: pl.DataFrame, untouched: float | None, style: Style, width: int = WIDE) -> AnyChart:
    """Loss on the windows of the race over the rate; a rule at the rate that each arm then trained at.

    `trials` has arm, learning_rate, loss_nats, diverged and chosen, of one variant. What diverged, or ended worse than
    the untouched model (dashed), is a cross at the top.
    """
    most = untouched if untouched is not None else float("inf")
    off = pl.col("diverged") | pl.col("loss_nats").is_null() | (pl.col("loss_nats") > most)
    within, beyond = trials.filter(~off), trials.filter(off)
    rates = [rate for name in ("learning_rate", "chosen") for rate in trials.get_column(name).drop_nulls()]
    across = alt.Scale(type="log", domain=[min(rates) / MARGIN, max(rates) * MARGIN], nice=False)
    marks = [] if untouched is None else [untouched]
    up = alt.Scale(domain=domain_of([*within.get_column("loss_nats"), *marks]), zero=False, nice=False)
    arms = trials.get_column("arm").unique().to_list()
    colour = arm_colour(style, arms, columns=legend_columns(width, arms))
    title = "learning rate (logarithmic)"
    x = alt.X("learning_rate:Q", scale=across, title=title, axis=RATE_AXIS)
    y = alt.Y("loss_nats:Q", scale=up, title="loss on the windows of the race (nats)", axis=alt.Axis(tickCount=6))
    chosen = trials.filter(pl.col("chosen").is_not_null()).unique(subset="arm", maintain_order=True)
    layers: list[alt.Chart | alt.LayerChart] = [
        alt.Chart(data_of(chosen.select("arm", "chosen")))
        .mark_rule(strokeWidth=1.6, strokeDash=[2, 3])
        .encode(x=alt.X("chosen:Q", scale=across, title=title, axis=RATE_AXIS), color=colour),
        alt.Chart(data_of(within))
        .mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=52, filled=True))
        .encode(x=x, y=y, color=colour),
        alt.Chart(data_of(beyond))
        .mark_point(shape="cross", angle=45, size=60, strokeWidth=1.6, filled=True)
        .encode(x=x, y=alt.value(6), color=colour),
    ]
    if untouched is not None:
        line = alt.Chart(alt.InlineData(values=[{"at": untouched}]))
        layers.insert(
            0,
            line.mark_rule(color=style.palette.muted, strokeDash=[4, 3], strokeWidth=1.2).encode(
                y=alt.Y("at:Q", scale=up)
            ),
        )
        layers.append(
            line.mark_text(
                text="untouched model", align="right", dx=-4, dy=-3, baseline="bottom", color=style.palette.muted,
                fontSize=SMALL_TEXT_SIZE,
            ).encode(x=alt.value("width"), y=alt.Y("at:Q", scale=up))
        )  # fmt: skip
    return finish(fitted(stacked(*layers), width, 300), style)
