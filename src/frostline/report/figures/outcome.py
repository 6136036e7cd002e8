"""What did the arms learn, and what did it do to their text? Token share, quality, forgetting, overfitting."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import polars as pl

from frostline.report.figures.parts import AnyChart, dots, finish, name_width, side_by_side
from frostline.report.style import WIDE, Style

QUALITY_TITLES = {
    "held_out_after": "held-out loss (nats)",
    "quality.perplexity": "perplexity under the untouched model",
    "quality.distinct_1": "distinct words (distinct-1)",
    "quality.distinct_2": "distinct pairs (distinct-2)",
    "quality.distinct_3": "distinct triples (distinct-3)",
    "quality.repetition": "repetition",
    "quality.self_bleu": "self-BLEU (sameness)",
    "quality.length": "length (tokens)",
    "quality.copied_share": "copied verbatim",
}
_SHARES = {"quality.repetition", "quality.copied_share"}


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

    The dashed line is the untouched model (rows with arm '' in `estimates`, one variant).
    """
    present = estimates.filter(pl.col("value").is_not_null()).get_column("measure").unique().to_list()
    measures = [measure for measure in QUALITY_TITLES if measure in present]
    columns = 3 if width > 500 else 1
    names = name_width(style)
    inner = (width - names - 22 * (columns - 1) - 16) // columns
    panels = []
    for index, measure in enumerate(measures):
        found = estimates.filter(pl.col("measure") == measure)
        before = found.filter(pl.col("arm") == "").get_column("value").drop_nulls().to_list()
        arms = found.filter(pl.col("arm") != "")
        panel = dots(
            arms, style, title="", format="~%" if measure in _SHARES else "~g", heading=QUALITY_TITLES[measure],
            marks=before, names=index % columns == 0,
        )  # fmt: skip
        line = _line(style, before)
        layered = alt.layer(line, panel) if before else panel
        panels.append(
            layered.properties(width=inner, height=max(50, 24 * len(style.arms)), title=QUALITY_TITLES[measure])
        )
    return finish(side_by_side(panels, columns), style)


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
    lines = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rule(color=style.palette.muted, strokeDash=[4, 3], strokeWidth=1.2)
        .encode(x="at:Q")
    )
    layers: list[alt.Chart | alt.LayerChart] = [lines, panel]
    for align, offset in (("right", -5), ("left", 5)):
        labels = [row for row in rows if row["align"] == align and row["label"]]
        if labels:
            layers.append(
                alt.Chart(alt.InlineData(values=labels))
                .mark_text(align=align, dx=offset, dy=-4, baseline="bottom", color=style.palette.muted, fontSize=11)
                .encode(x="at:Q", y=alt.value(0), text="label:N")
            )
    height = max(64, 34 * found.get_column("arm").n_unique())
    layered: alt.LayerChart = alt.layer(*layers).properties(width=width - name_width(style) - 24, height=height)
    return layered


def _line(style: Style, values: Sequence[float]) -> alt.Chart:
    drawn: alt.Chart = (
        alt.Chart(alt.InlineData(values=[{"at": value} for value in values]))
        .mark_rule(color=style.palette.muted, strokeDash=[4, 3], strokeWidth=1.2)
        .encode(x="at:Q")
    )
    return drawn
