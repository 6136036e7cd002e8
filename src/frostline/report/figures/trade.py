"""What does a loss cost? Loss over seconds, operations or epochs, the front of loss and cost, gradient norms."""

from __future__ import annotations

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
    side_by_side,
    stacked,
    thinned,
    told_on_hover,
)
from frostline.report.style import WIDE, Style

TITLES = {
    "seconds": "training time (seconds)",
    "flops": "floating-point operations needed",
    "epoch": "epochs",
}
MOST_POINTS = 4000
"""Points of all faint lines together."""
LOSS = "held-out loss (nats per token)"


def over_cost_chart(curves: pl.DataFrame, axis: str, style: Style, width: int = WIDE) -> AnyChart:
    """Held-out loss over `axis` (a column of `Run.curves()`): replicates faint, their mean strong."""
    known = curves.filter(pl.col(axis).is_not_null() & pl.col("loss_nats").is_not_null())
    mean = mean_curve(known, axis)
    across = alt.X(
        f"{axis}:Q",
        title=TITLES[axis],
        scale=alt.Scale(domainMin=0, nice=False),
        axis=alt.Axis(grid=False, format="~s", tickCount=8),
    )
    up = alt.Y(
        "loss_nats:Q",
        title=LOSS,
        scale=scale_over(known.get_column("loss_nats")),
    )
    colour = arm_legend(known, style, width)
    strong = alt.Chart(data_of(mean)).encode(x=across, y=up, color=colour)
    layers = [
        alt.Chart(data_of(known.select("seed", "arm", axis, "loss_nats")))
        .mark_line(strokeWidth=0.9, opacity=0.25)
        .encode(x=across, y=up, color=colour, detail="seed:N"),
        strong.mark_line(strokeWidth=2.2),
        strong.mark_point(shape="diamond", size=64, filled=True, opacity=1, stroke=style.palette.paper, strokeWidth=1),
    ]
    return finish(fitted(stacked(*layers), width, 260 if width > 500 else 220), style)


def mean_curve(curves: pl.DataFrame, axis: str) -> pl.DataFrame:
    """Mean cost and loss of each arm at each evaluation that all of its replicates reached: arm, `axis`, loss_nats."""
    grouped = curves.group_by("arm", "step").agg(pl.col(axis).mean(), pl.col("loss_nats").mean(), n=pl.len())
    whole = grouped.filter(pl.col("n") == pl.col("n").max().over("arm"))
    return whole.sort("arm", "step").select("arm", axis, "loss_nats")


def front_chart(front: pl.DataFrame, style: Style, width: int = WIDE) -> AnyChart:
    """Loss at the end against time and against memory, arms as dots with intervals; a step line joins the unbeaten.

    `front` is the frame of `Run.front()` of one variant.
    """
    shown = [(axis, title) for axis, title in (("seconds", "training time (seconds)"), ("bytes", "peak memory (GB)"))
             if front.filter(pl.col("axis") == axis).height > 1]  # fmt: skip
    columns = len(shown) if width > 500 else 1
    inner = (width - 62 * columns) // columns
    colour = arm_legend(front, style, width)
    panels = [_front_panel(front.filter(pl.col("axis") == axis), axis, title, style, colour, inner)
              for axis, title in shown]  # fmt: skip
    return finish(side_by_side(panels, columns), style)


def _front_panel(
    points: pl.DataFrame, axis: str, title: str, style: Style, colour: alt.Color, width: int
) -> alt.LayerChart:
    scale = 1e9 if axis == "bytes" else 1.0
    rows = points.with_columns(pl.col("cost") / scale, pl.col("cost_low") / scale, pl.col("cost_high") / scale)
    right = scale_over(rows.get_column("cost"), zero=True)
    up = scale_over(rows.get_column("loss"), reach=[*rows.get_column("loss_low"), *rows.get_column("loss_high")])
    x = alt.X("cost:Q", scale=right, title=title, axis=alt.Axis(tickCount=5))
    y = alt.Y("loss:Q", scale=up, title=LOSS)
    low = alt.Y("loss_low:Q", scale=up, title=LOSS)
    unbeaten = rows.filter(~pl.col("beaten")).sort("cost", "loss")
    base = alt.Chart(data_of(rows)).encode(color=colour)
    layers = [
        alt.Chart(data_of(unbeaten.select("cost", "loss")))
        .mark_line(interpolate="step-after", color=style.palette.muted, strokeDash=[4, 3], strokeWidth=1.2)
        .encode(x=x, y=y),
        base.mark_rule(strokeWidth=2, opacity=0.55, clip=True).encode(x=x, y=low, y2="loss_high:Q"),
        base.mark_rule(strokeWidth=2, opacity=0.55, clip=True).encode(
            x=alt.X("cost_low:Q", scale=right, title=title), x2="cost_high:Q", y=y
        ),
        base.mark_circle(size=90, opacity=1).encode(x=x, y=y),
    ]
    return stacked(*layers).properties(width=width, height=210)


def gradient_chart(losses: pl.DataFrame, limit: float | None, style: Style, width: int = WIDE) -> AnyChart:
    """Norm of the gradient before clipping over steps, on a logarithmic scale; the dashed line is where it is cut."""
    positive = losses.filter(pl.col("gradient_norm") > 0)
    known = thinned(positive, max(40, MOST_POINTS // max(1, positive.select("seed", "arm").unique().height)))
    mean = known.group_by("arm", "step").agg(pl.col("gradient_norm").mean()).sort("arm", "step")
    up = alt.Y("gradient_norm:Q", title="gradient norm", scale=alt.Scale(type="log", nice=False),
               axis=alt.Axis(tickCount=4, format="~g"))  # fmt: skip
    across = alt.X("step:Q", title="step", scale=alt.Scale(nice=False), axis=alt.Axis(grid=False, tickMinStep=1))
    colour = arm_legend(known, style, width)
    layers: list[alt.Chart | alt.LayerChart] = [
        alt.Chart(data_of(known.select("seed", "arm", "step", "gradient_norm")))
        .mark_line(strokeWidth=0.8, opacity=0.22)
        .encode(x=across, y=up, color=colour, detail="seed:N"),
        alt.Chart(data_of(mean)).mark_line(strokeWidth=2).encode(x=across, y=up, color=colour),
        told_on_hover(mean).encode(x=across, y=up, color=colour),
    ]
    if limit is not None:
        layers.append(reference_rule([{"gradient_norm": limit}], style).encode(y=up))
    return finish(fitted(stacked(*layers), width, 190), style)
