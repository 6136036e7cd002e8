"""How does the result depend on what was varied? Saving and overfitting over the values of the varied key."""

from __future__ import annotations

import altair as alt
import polars as pl

from frostline.report.figures.parts import (
    AnyChart,
    arm_legend,
    data_of,
    finish,
    scale_over,
    side_by_side,
    stacked,
)
from frostline.report.figures.rates import rate_axis
from frostline.report.style import WIDE, Style
from frostline.text import one_line

RATE_KEY = "training.learning_rate"
_PANELS = (
    ("saving", "saving r", "~%"),
    ("overfitting", "overfitting (nats)", "~g"),
    ("held_out_after", "held-out loss (nats)", "~g"),
)


def _across(key: str, values: list[str]) -> alt.X:
    """The axis of the varied key: its values one beside another, learning rates to scale."""
    if key == RATE_KEY:
        return rate_axis("rate", [float(value) for value in values])
    return alt.X(
        "value_label:N", sort=values, title=key, scale=alt.Scale(domain=values, type="point", padding=0.5),
        axis=alt.Axis(labelAngle=0 if max(map(len, values)) < 9 else -30, grid=False),
    )  # fmt: skip


def variants_chart(estimates: pl.DataFrame, variants: list[str], style: Style, width: int = WIDE) -> AnyChart:
    """Saving r, overfitting and held-out loss of each arm over the values of `vary:`, in the recipe's order."""
    values = [one_line(variant.partition("=")[2] or variant) for variant in variants]
    key = one_line(variants[0].partition("=")[0])
    labels = pl.DataFrame({"variant": variants, "place": list(range(len(variants)))})
    found = estimates.filter((pl.col("arm") != "") & pl.col("value").is_not_null()).join(labels, on="variant")
    shown = [panel for panel in _PANELS if panel[0] in found.get_column("measure").to_list()]
    columns = 1 if width < 500 else max(1, len(shown))
    inner = (width - 56 * columns) // columns
    colour = arm_legend(found, style, width)
    panels = []
    for measure, title, format in shown:
        rows = found.filter(pl.col("measure") == measure).with_columns(
            value_label=pl.col("place").map_elements(values.__getitem__, return_dtype=pl.String())
        )
        if key == RATE_KEY:
            rows = rows.with_columns(rate=pl.col("value_label").cast(pl.Float64))
        reach = [*rows.get_column("low"), *rows.get_column("high")]
        up = scale_over(rows.get_column("value"), reach=reach)
        x = _across(key, values)
        base = alt.Chart(data_of(rows)).encode(x=x, color=colour)
        y = alt.Y("value:Q", scale=up, title=title, axis=alt.Axis(format=format, tickCount=5))
        ruled = base.mark_rule(strokeWidth=2, opacity=0.4, clip=True).encode(
            y=alt.Y("low:Q", scale=up, title=title), y2="high:Q"
        )
        line = base.mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=52, filled=True)).encode(y=y)
        panels.append(stacked(ruled, line).properties(width=inner, height=190))
    return finish(side_by_side(panels, columns), style)
