"""How does the loss depend on the learning rate? A curve for each arm, over the rates that it raced."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import polars as pl

from frostline.report.figures.parts import (
    AnyChart,
    arm_legend,
    data_of,
    finish,
    fitted,
    reference_rule,
    scale_over,
    stacked,
)
from frostline.report.style import SMALL_TEXT_SIZE, WIDE, Style

MARGIN = 1.6
"""The axis of rates goes on by this factor beyond the lowest and the highest one."""


def rate_axis(column: str, rates: Sequence[float]) -> alt.X:
    """The axis of the learning rates in `column`, to scale."""
    return alt.X(
        f"{column}:Q",
        scale=alt.Scale(type="log", domain=[min(rates) / MARGIN, max(rates) * MARGIN], nice=False),
        title="learning rate (logarithmic)",
        axis=alt.Axis(format=".0e", labelOverlap=True, grid=False),
    )


def rates_chart(trials: pl.DataFrame, untouched: float | None, style: Style, width: int = WIDE) -> AnyChart:
    """Loss on the windows of the race over the rate; a rule at the rate that each arm then trained at.

    `trials` has arm, learning_rate, loss_nats, diverged and chosen, of one variant. What diverged, or ended worse than
    the untouched model (dashed), is a cross at the top.
    """
    most = untouched if untouched is not None else float("inf")
    off = pl.col("diverged") | pl.col("loss_nats").is_null() | (pl.col("loss_nats") > most)
    within, beyond = trials.filter(~off), trials.filter(off)
    rates = [rate for name in ("learning_rate", "chosen") for rate in trials.get_column(name).drop_nulls()]
    marks = [] if untouched is None else [untouched]
    up = scale_over([*within.get_column("loss_nats"), *marks])
    colour = arm_legend(trials, style, width)
    x = rate_axis("learning_rate", rates)
    y = alt.Y("loss_nats:Q", scale=up, title="loss on the windows of the race (nats)", axis=alt.Axis(tickCount=6))
    chosen = trials.filter(pl.col("chosen").is_not_null()).unique(subset="arm", maintain_order=True)
    layers: list[alt.Chart | alt.LayerChart] = [
        alt.Chart(data_of(chosen.select("arm", "chosen")))
        .mark_rule(strokeWidth=1.6, strokeDash=[2, 3])
        .encode(x=rate_axis("chosen", rates), color=colour),
        alt.Chart(data_of(within))
        .mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=52, filled=True))
        .encode(x=x, y=y, color=colour),
        alt.Chart(data_of(beyond))
        .mark_point(shape="cross", angle=45, size=60, strokeWidth=1.6, filled=True)
        .encode(x=x, y=alt.value(6), color=colour),
    ]
    if untouched is not None:
        at = alt.Y("at:Q", scale=up)
        line = reference_rule([{"at": untouched}], style)
        label = line.mark_text(
            text="untouched model", align="right", dx=-4, dy=-3, baseline="bottom", color=style.palette.muted,
            fontSize=SMALL_TEXT_SIZE,
        )  # fmt: skip
        layers = [line.encode(y=at), *layers, label.encode(x=alt.value("width"), y=at)]
    return finish(fitted(stacked(*layers), width, 300), style)
