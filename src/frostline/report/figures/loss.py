"""How did the loss go? Curves with intervals over replicates, the paired difference, the scatter with y = x."""

from __future__ import annotations

import math

import altair as alt
import polars as pl
from scipy.special import stdtrit

from frostline.report.figures.parts import (
    AnyChart,
    arm_legend,
    data_of,
    domain_of,
    finish,
    fitted,
    scale_over,
    side_by_side,
    stacked,
    thinned,
    told_on_hover,
)
from frostline.report.style import STEP_RAMP, WIDE, Style

_MOST_POINTS = 4000
_SERIES = ["seed", "arm"]


def smoothing_window(steps: int) -> int:
    """Steps that the moving average of a run of `steps` steps covers: about a tenth, odd."""
    return 2 * max(1, steps // 20) + 1


def loss_chart(losses: pl.DataFrame, evaluations: pl.DataFrame, style: Style, width: int = WIDE) -> AnyChart:
    """Training loss over steps: each replicate raw and faint, their smoothed mean, a 95 % band, held-out diamonds.

    `losses` and `evaluations` are the frames of `Run.losses()` and `Run.evaluations()` of one variant.
    """
    mean = _mean_over_replicates(losses, "loss_nats")
    held_out = (
        evaluations.filter(pl.col("corpus") == "held_out")
        .group_by("arm", "step", maintain_order=True)
        .agg(pl.col("loss_nats").mean())
    )
    series = max(1, losses.select(_SERIES).unique().height)
    raw = thinned(losses, max(40, _MOST_POINTS // series))
    lowest, highest = losses.get_column("loss_nats").quantile(0.005), losses.get_column("loss_nats").quantile(0.995)
    across = _steps(losses)
    up = scale_over([lowest, highest, *mean.get_column("mean"), *held_out.get_column("loss_nats")])
    colour = arm_legend(losses, style, width)
    title = "loss (nats per token)"
    layers = [
        alt.Chart(data_of(raw.select("seed", "arm", "step", "loss_nats")))
        .mark_line(strokeWidth=0.8, opacity=0.22, clip=True)
        .encode(x=across, y=alt.Y("loss_nats:Q", scale=up, title=title), color=colour, detail="seed:N"),
        *_mean_and_band(thinned(mean), up, title, across, colour),
        alt.Chart(data_of(held_out))
        .mark_point(shape="diamond", size=64, filled=True, opacity=1, stroke=style.palette.paper, strokeWidth=1)
        .encode(x=across, y=alt.Y("loss_nats:Q", scale=up, title=title), color=colour),
    ]
    return finish(fitted(stacked(*layers), width, _height(width)), style)


def loss_difference_chart(losses: pl.DataFrame, style: Style, width: int = WIDE) -> AnyChart:
    """Smoothed loss of each arm minus the baseline's at the same step of the same replicate, with a 95 % band."""
    paired = pairs(losses, style.baseline).with_columns(difference=pl.col("loss_nats") - pl.col("baseline_nats"))
    mean = _mean_over_replicates(paired, "difference")
    reach = [*mean.get_column("low"), *mean.get_column("high")]
    up = scale_over(mean.get_column("mean"), reach=reach, zero=True)
    across = _steps(losses)
    colour = arm_legend(paired, style, width)
    title = f"loss minus that of {style.baseline} (nats)"
    zero = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color=style.palette.baseline, strokeWidth=1.4)
    layers = [
        zero.encode(y=alt.Y("zero:Q", scale=up, title=title)),
        *_mean_and_band(thinned(mean), up, title, across, colour),
    ]
    return finish(fitted(stacked(*layers), width, round(0.75 * _height(width))), style)


def scatter_chart(losses: pl.DataFrame, style: Style, width: int = WIDE) -> AnyChart:
    """One point a step and replicate: x the arm's loss, y the baseline's, beside the line y = x; one panel an arm."""
    paired = pairs(losses, style.baseline)
    arms = [arm for arm in style.arms if arm in paired.get_column("arm").unique().to_list()]
    columns = max(1, min(len(arms), width // 220))
    side = min(300, (width - 58 * columns) // columns)
    values = [*paired.get_column("loss_nats"), *paired.get_column("baseline_nats")]
    domain = domain_of(values)
    replicates = max(1, paired.get_column("seed").n_unique())
    shown = thinned(paired, max(40, 600 // replicates))
    panels = [_scatter_panel(shown.filter(pl.col("arm") == arm), arm, style, domain, side) for arm in arms]
    return finish(side_by_side(panels, columns), style)


def pairs(losses: pl.DataFrame, baseline: str) -> pl.DataFrame:
    """Losses of the other arms with the baseline's at the same seed and step: seed, arm, step, loss_nats,
    baseline_nats."""
    reference = losses.filter(pl.col("arm") == baseline).select("seed", "step", baseline_nats="loss_nats")
    others = losses.filter(pl.col("arm") != baseline).select("seed", "arm", "step", "loss_nats")
    return others.join(reference, on=["seed", "step"], how="inner", maintain_order="left").drop_nulls()


def _scatter_panel(points: pl.DataFrame, arm: str, style: Style, domain: list[float], side: int) -> alt.LayerChart:
    scale = alt.Scale(domain=domain, zero=False, nice=False)
    ends = [{"loss_nats": value, "baseline_nats": value} for value in domain]
    x = alt.X("loss_nats:Q", scale=scale, title=f"loss of {arm}", axis=alt.Axis(tickCount=4))
    y = alt.Y("baseline_nats:Q", scale=scale, title=f"loss of {style.baseline}", axis=alt.Axis(tickCount=4))
    line = alt.Chart(alt.InlineData(values=ends)).mark_line(
        color=style.palette.muted, strokeWidth=1.2, strokeDash=[4, 3]
    )
    legend = alt.Legend(title="step", orient="top", gradientLength=90, gradientThickness=8, tickCount=2)
    coloured = alt.Color("step:Q", scale=alt.Scale(range=list(STEP_RAMP)), legend=legend)
    dotted = alt.Chart(data_of(points)).mark_circle(size=26, opacity=0.8, clip=True).encode(x=x, y=y, color=coloured)
    layered: alt.LayerChart = stacked(line.encode(x=x, y=y), dotted).properties(width=side, height=side, title=arm)
    return layered


def _mean_over_replicates(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """Smoothed within each replicate, then the mean over replicates with its 95 % t interval, by arm and step.

    Of two replicates, whose t interval would fill the figure, it is the range.
    """
    if frame.is_empty():
        names = {
            "arm": pl.String(),
            "step": pl.Int64(),
            "mean": pl.Float64(),
            "low": pl.Float64(),
            "high": pl.Float64(),
        }
        return pl.DataFrame(schema=names)
    window = smoothing_window(frame.get_column("step").n_unique())
    smooth = (
        frame.filter(pl.col(column).is_finite())
        .sort("step")
        .with_columns(smooth=pl.col(column).rolling_mean(window, min_samples=1, center=True).over(_SERIES))
    )
    grouped = smooth.group_by("arm", "step", maintain_order=True).agg(
        mean=pl.col("smooth").mean(), deviation=pl.col("smooth").std(), n=pl.len()
    )
    half = [_half_width(n, deviation) for n, deviation in grouped.select("n", "deviation").iter_rows()]
    return (
        grouped.with_columns(half=pl.Series(half, dtype=pl.Float64()))
        .select("arm", "step", "mean", low=pl.col("mean") - pl.col("half"), high=pl.col("mean") + pl.col("half"))
        .sort("arm", "step")
    )


def _half_width(n: int, deviation: float | None) -> float | None:
    if n < 2 or deviation is None:
        return None
    if n == 2:
        return deviation / math.sqrt(2)  # half the distance between the two
    return float(stdtrit(n - 1, 0.975) * deviation / math.sqrt(n))


def _mean_and_band(mean: pl.DataFrame, up: alt.Scale, title: str, across: alt.X, colour: alt.Color) -> list[alt.Chart]:
    low, middle = alt.Y("low:Q", scale=up, title=title), alt.Y("mean:Q", scale=up, title=title)
    banded = alt.Chart(data_of(mean.drop_nulls())).mark_area(opacity=0.15, clip=True)
    line = alt.Chart(data_of(mean)).mark_line(strokeWidth=2.2, clip=True)
    return [
        banded.encode(x=across, y=low, y2="high:Q", color=colour),
        line.encode(x=across, y=middle, color=colour),
        told_on_hover(mean.select("arm", "step", "mean")).encode(x=across, y=middle, color=colour),
    ]


def _steps(losses: pl.DataFrame) -> alt.X:
    last = losses.get_column("step").max()
    end = int(last) + 1 if isinstance(last, int) else 1
    return alt.X(
        "step:Q",
        title="step",
        scale=alt.Scale(domain=[0, end], nice=False),
        axis=alt.Axis(grid=False, format="~s", tickCount=8, tickMinStep=1),
    )


def _height(width: int) -> int:
    return 300 if width > 500 else 240
