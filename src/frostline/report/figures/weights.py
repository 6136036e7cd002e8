"""How far did the weights move, when and where? Change a step by role; drift as a map of layers x matrices."""

from __future__ import annotations

import altair as alt
import polars as pl

from frostline.report.figures.parts import (
    AnyChart,
    arm_legend,
    data_of,
    finish,
    side_by_side,
    stacked,
    thinned,
    told_on_hover,
)
from frostline.report.style import WIDE, Style


def weight_change_chart(changes: pl.DataFrame, noise: pl.DataFrame, style: Style, width: int = WIDE) -> AnyChart:
    """Frobenius norm of W_t - W_(t-1) over steps, one panel a role, on one logarithmic scale.

    A line is the mean over the matrices that moved (those that the arm trains) and over replicates; `changes` is the
    frame of `Run.weight_changes()` of one variant. Dashed is what AdamW would make of gradients of pure noise at the
    same rates, `noise` of `Run.noise_changes()`: what lies above it is agreement of the gradients.
    """
    mean = (
        changes.filter(pl.col("change") > 0)
        .group_by("role", "arm", "step", maintain_order=True)
        .agg(pl.col("change").mean())
        .sort("role", "arm", "step")
    )
    roles = role_order(mean)
    columns = max(1, min(len(roles), 2 if width < 500 else 4 if len(roles) >= 4 else len(roles)))
    inner = (width - 46 - 26 * (columns - 1)) // columns
    up = alt.Scale(type="log", domain=_log_domain(mean), nice=False)
    colour = arm_legend(mean, style, width)
    panels = []
    for index, role in enumerate(roles):
        first = index % columns == 0
        vertical = alt.Y(
            "change:Q",
            scale=up,
            title="change a step (Frobenius norm)" if first else None,
            axis=alt.Axis(format=".4~g", labels=first, tickCount=4),
        )
        across = alt.X("step:Q", title="step", axis=alt.Axis(grid=False, tickCount=3, tickMinStep=1, format="~s"))
        drawn = [
            alt.Chart(data_of(thinned(frame.filter(pl.col("role") == role).sort("arm", "step"), 300)))
            .mark_line(strokeWidth=thick, strokeDash=dash, clip=True)
            .encode(x=across, y=vertical, color=colour)
            for frame, thick, dash in ((mean, 1.8, [1, 0]), (noise.with_columns(of=pl.lit("noise")), 1.2, [4, 3]))
            if not frame.filter(pl.col("role") == role).is_empty()
        ]
        moved = mean.filter(pl.col("role") == role).select("arm", "step", "change")
        drawn.append(told_on_hover(moved, 24).encode(x=across, y=vertical, color=colour))
        panels.append(stacked(*drawn).properties(width=inner, height=170, title=role))
    return finish(side_by_side(panels, columns), style)


def drift_chart(final: pl.DataFrame, style: Style, width: int = WIDE) -> AnyChart:
    """Relative drift, the norm of W_T - W_0 over that of W_0: layers x roles, one panel an arm, one colour scale.

    Mean over replicates, and over matrices where a layer has several of one role. A cell that the arm never trained
    is an empty outline: frozen. `final` is the frame of `Run.final_weights()` of one variant.
    """
    cells = (
        final.filter(pl.col("layer").is_not_null())
        .group_by("arm", "layer", "role", maintain_order=True)
        .agg(pl.col("relative_drift").mean(), frozen=~pl.col("trained").any() & (pl.col("drift").max() == 0))
        .sort("layer", "role")
    )
    arms = [arm for arm in style.arms if arm in cells.get_column("arm").unique().to_list()]
    roles = role_order(cells)
    columns = max(1, min(len(arms), width // 105))
    inner = min(48 * len(roles), (width - 40 - 24 * (columns - 1)) // columns)
    layers = cells.get_column("layer").n_unique()
    height = max(80, min(12 * layers, 420))
    top = cells.get_column("relative_drift").max()
    highest = float(top) if isinstance(top, float) and top > 0 else 1.0
    panels = [
        _drift_panel(
            cells.filter(pl.col("arm") == arm), arm, style, roles, highest, (inner, height), index % columns == 0
        )
        for index, arm in enumerate(arms)
    ]
    return finish(side_by_side(panels, columns), style)


def role_order(frame: pl.DataFrame) -> list[str]:
    """The roles in `frame` in the order in which a layer computes them."""
    known = ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.gate", "mlp.up", "mlp.down", "norm", "bias", "embed", "head"]
    found = frame.get_column("role").unique().drop_nulls().to_list()
    return [role for role in known if role in found] + sorted(role for role in found if role not in known)


def _drift_panel(
    cells: pl.DataFrame,
    arm: str,
    style: Style,
    roles: list[str],
    highest: float,
    size: tuple[int, int],
    first: bool,
) -> alt.LayerChart:
    short = "split(datum.value, '.')[1] || datum.value"
    x = alt.X(
        "role:N", sort=roles, title=None, scale=alt.Scale(domain=roles), axis=alt.Axis(labelAngle=0, labelExpr=short)
    )
    y = alt.Y(
        "layer:O",
        sort="descending",
        title="layer" if first else None,
        axis=alt.Axis(values=labelled_layers(cells), domain=False, labels=first),
    )
    legend = alt.Legend(
        title="relative drift", format="~g", symbolType="square", symbolSize=130, tickCount=4,
        symbolFillColor=style.palette.accent,
    )  # fmt: skip
    strength = alt.Opacity(
        "relative_drift:Q", scale=alt.Scale(domain=[0, highest], range=[0.08, 1], nice=False), legend=legend
    )
    width, height = size
    moved = (
        alt.Chart(data_of(cells.filter(~pl.col("frozen"))))
        .mark_rect(fill=style.palette.accent, stroke=style.palette.paper, strokeWidth=1)
        .encode(x=x, y=y, opacity=strength)
    )
    frozen = (
        alt.Chart(data_of(cells.filter(pl.col("frozen"))))
        .mark_rect(fill=style.palette.surface, stroke=style.palette.line, strokeWidth=1)
        .encode(x=x, y=y)
    )
    layered: alt.LayerChart = stacked(frozen, moved).properties(width=width, height=height, title=arm)
    return layered


def labelled_layers(cells: pl.DataFrame) -> list[int]:
    """The layers that the axis names: all of a few, else every fifth."""
    layers = cells.get_column("layer").unique().sort().to_list()
    return layers if len(layers) <= 16 else [layer for layer in layers if layer % 5 == 0]


def _log_domain(mean: pl.DataFrame) -> list[float]:
    low, high = mean.get_column("change").min(), mean.get_column("change").max()
    if not isinstance(low, float) or not isinstance(high, float):
        return [0.1, 1.0]
    return [low / 1.3, high * 1.3]
