"""Which numbers does a figure draw? Its frames: as tables below it, and as files for other programs."""

from __future__ import annotations

import io
from collections.abc import Iterator

import altair as alt
import polars as pl

from frostline.report import numbers
from frostline.report.figures.parts import AnyChart, thinned
from frostline.report.table import Table

MOST_ROWS_SHOWN = 60
_BEGINS_FORMULA = r"^[=+\-@\t\r]"
"""What spreadsheets take for a formula, where a text begins with it."""


def numbers_of(chart: AnyChart) -> tuple[pl.DataFrame, ...]:
    """The frames that `chart` draws, each once; those of panels with the same columns are one."""
    by_columns: dict[tuple[str, ...], list[pl.DataFrame]] = {}
    for frame in _frames(chart):
        if not frame.is_empty():
            by_columns.setdefault(tuple(frame.columns), []).append(frame)
    together = [pl.concat(frames, how="vertical_relaxed") for frames in by_columns.values()]
    return tuple(frame.unique(maintain_order=True) for frame in together)


def table_of(frames: tuple[pl.DataFrame, ...]) -> list[Table]:
    """`frames` as tables for a page: of curves some steps, and the mean over replicates where it is drawn."""
    means = [frame for frame in frames if "seed" not in frame.columns]
    return [_table(frame) for frame in means or frames]


def csv_of(frame: pl.DataFrame) -> bytes:
    """`frame` as a CSV file. A text that a spreadsheet would take for a formula begins with an apostrophe."""
    text = pl.selectors.string()
    guarded = frame.with_columns(
        pl.when(text.str.contains(_BEGINS_FORMULA)).then(pl.lit("'") + text).otherwise(text).name.keep()
    )
    return guarded.write_csv().encode("utf-8")


def parquet_of(frame: pl.DataFrame) -> bytes:
    """`frame` as a parquet file."""
    content = io.BytesIO()
    frame.write_parquet(content)
    return content.getvalue()


def _frames(chart: object) -> Iterator[pl.DataFrame]:
    data = getattr(chart, "data", alt.Undefined)
    if isinstance(data, pl.DataFrame):
        yield data
    for name in ("layer", "concat", "hconcat", "vconcat", "spec"):
        parts = getattr(chart, name, alt.Undefined)
        if isinstance(parts, list):
            for part in parts:
                yield from _frames(part)
        elif parts is not alt.Undefined and not callable(parts):
            yield from _frames(parts)


def _table(frame: pl.DataFrame) -> Table:
    shown = frame
    if frame.height > MOST_ROWS_SHOWN and "step" in frame.columns:
        steps = frame.get_column("step").n_unique()
        shown = thinned(frame, max(2, MOST_ROWS_SHOWN * steps // frame.height - 1))
    shown = shown.head(MOST_ROWS_SHOWN)
    left_out = frame.height - shown.height
    told = f"{shown.height} of {frame.height:,} rows; `frostline report RUN --data DIR` writes all." if left_out else ""
    rows = [tuple(_cell(value) for value in row) for row in shown.iter_rows()]
    return Table(tuple(name.replace("_", " ") for name in frame.columns), tuple(rows), told)


def _cell(value: object) -> str:
    if value is None:
        return numbers.MISSING
    if isinstance(value, float):
        return f"{value:.5g}".replace("-", "\N{MINUS SIGN}")  # arms may differ in the fourth digit
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
