"""What did the arms learn, and what did it do to their text? Token share, quality, forgetting, overfitting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import altair as alt
import polars as pl

from frostline.report.figures.parts import (
    AnyChart,
    arm_colour,
    arm_rows,
    data_of,
    domain_of,
    dots,
    finish,
    name_width,
    reference_rule,
    stacked,
)
from frostline.report.style import TEXT_SIZE, WIDE, Style

QUALITY_TITLES = {
    "held_out_after": "held-out loss (nats)",
    "quality.distance": "distance to the text itself",
    "quality.judge_loss": "judge's loss (nats a byte)",
    "quality.distinct_1": "distinct-1 (tokens)",
    "quality.distinct_2": "distinct-2 (pairs)",
    "quality.distinct_3": "distinct-3 (triples)",
    "quality.repetition": "repetition",
    "quality.self_bleu": "self-BLEU (sameness)",
    "quality.length": "length (tokens)",
    "quality.copied_share": "share copied verbatim",
    "quality.from_untouched": "distance from the untouched model (nats)",
}


def token_share_chart(estimates: pl.DataFrame, corpus_share: float | None, style: Style, width: int = WIDE) -> AnyChart:
    """Share of generated tokens among the corpus's most frequent: after training (dots), before (line), in the corpus.

    Expects measures `common_share_before` and `common_share_after` in `estimates` (one variant).
    """
    after = estimates.filter(pl.col("measure") == "common_share_after")
    before = estimates.filter(pl.col("measure") == "common_share_before").get_column("value").drop_nulls()
    marks = [("before training", float(before[0]))] if len(before) else []
    if corpus_share is not None and corpus_share == corpus_share:
        marks.append(("in the corpus", corpus_share))
    return finish(_marked(after, style, marks, "share of common tokens", "~%", width), style)


def change_chart(estimates: pl.DataFrame, measure: str, title: str, style: Style, width: int = WIDE) -> AnyChart:
    """One measure that is a change (forgetting, overfitting) for each arm with its interval, beside zero."""
    found = estimates.filter(pl.col("measure") == measure)
    return finish(_marked(found, style, [("", 0.0)], title, "~g", width), style)


def quality_chart(estimates: pl.DataFrame, style: Style, width: int = WIDE) -> AnyChart:
    """Held-out loss beside each measure of the generated text, arms as dots with intervals.

    The dashed line is the untouched model, the solid one the held-out text itself (rows with arm '' in `estimates`, one
    variant).
    """
    present = estimates.filter(pl.col("value").is_not_null()).get_column("measure").unique().to_list()
    measures = [measure for measure in QUALITY_TITLES if measure in present]
    columns = 3 if width > 500 else 1
    inner = (width - name_width(style) - 24 * columns) // columns
    before = estimates.filter(pl.col("arm") == "").select("measure", before="value")
    prefix = "quality_reference."
    itself = estimates.filter(pl.col("measure").str.starts_with(prefix)).select(
        pl.col("measure").str.replace(prefix, "quality.", literal=True), itself="value"
    )
    rows = (
        estimates.filter((pl.col("arm") != "") & pl.col("measure").is_in(measures))
        .join(before, on="measure", how="left", maintain_order="left")
        .join(itself, on="measure", how="left", maintain_order="left")
        .with_columns(title=pl.col("measure").replace_strict(QUALITY_TITLES, return_dtype=pl.String()))
    )
    arms = rows.get_column("arm").unique().to_list()
    base = alt.Chart().encode(y=arm_rows(style, arms), color=arm_colour(style, arms, legend=False))
    # The intervals are cut in the data, not by the axis: each panel of a facet chooses its axis by what it holds.
    low = alt.X(
        "low:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=3, format=".4~g", labelOverlap=True)
    )
    layers = [
        alt.Chart().mark_rule(color=style.palette.muted, strokeDash=[4, 3], strokeWidth=1.2).encode(x="before:Q"),
        alt.Chart().mark_rule(color=style.palette.ink, strokeWidth=1).encode(x="itself:Q"),
        base.mark_rule(strokeWidth=2, opacity=0.55).encode(x=low, x2="high:Q"),
        base.mark_circle(size=70, opacity=1).encode(x="value:Q"),
    ]
    panel = alt.LayerChart(layer=layers, data=data_of(_cut(rows)), width=inner, height=max(50, 24 * len(arms)))
    header = alt.Header(
        title=None, labelAnchor="start", labelFontWeight=600, labelColor=style.palette.ink, labelFontSize=TEXT_SIZE
    )
    titles = [QUALITY_TITLES[measure] for measure in measures]
    drawn = panel.facet(alt.Facet("title:N", sort=titles, title=None, header=header), columns=columns)
    return finish(drawn.resolve_scale(x="independent"), style)


def _cut(rows: pl.DataFrame) -> pl.DataFrame:
    """Intervals no longer than the spread of the values of their measure allows."""
    parts = []
    for (_,), group in rows.group_by("measure", maintain_order=True):
        reach = [*group.get_column("low"), *group.get_column("high")]
        known = [value for name in ("value", "before", "itself") for value in group.get_column(name)]
        low, high = domain_of(known, reach=reach)
        parts.append(group.with_columns(pl.col("low").clip(low, high), pl.col("high").clip(low, high)))
    return pl.concat(parts)


def _marked(
    found: pl.DataFrame, style: Style, marks: Sequence[tuple[str, float]], title: str, format: str, width: int
) -> alt.LayerChart:
    """Dots with intervals and labelled vertical lines."""
    panel = dots(found, style, title=title, format=format, marks=[value for _, value in marks])
    ordered = sorted(marks, key=lambda mark: mark[1])
    rows = [
        {"at": value, "label": label, "align": "right" if index == 0 and len(ordered) > 1 else "left"}
        for index, (label, value) in enumerate(ordered)
    ]
    layers: list[alt.Chart | alt.LayerChart] = [reference_rule(rows, style).encode(x="at:Q"), panel]
    sides: tuple[tuple[Literal["left", "right"], int], ...] = (("right", -5), ("left", 5))
    for align, offset in sides:
        labels = [row for row in rows if row["align"] == align and row["label"]]
        if labels:
            layers.append(
                alt.Chart(alt.InlineData(values=labels))
                .mark_text(align=align, dx=offset, dy=-4, baseline="bottom", color=style.palette.muted, fontSize=11)
                .encode(x="at:Q", y=alt.value(0), text="label:N")
            )
    height = max(64, 34 * found.get_column("arm").n_unique())
    layered: alt.LayerChart = stacked(*layers).properties(width=width - name_width(style) - 24, height=height)
    return layered
