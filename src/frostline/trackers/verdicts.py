"""What does a tracker show of the end? The claims with their verdicts over all replicates, which no curve shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from frostline.run_folder import JOURNAL_FOLDER, RUN_FILE, SUMMARY_FILE
from frostline.text import one_line
from frostline.trackers.tracker import Row, Table

if TYPE_CHECKING:
    from frostline.stats import RunSummary

NAME = "verdicts"
COLUMNS = ("claim", "arm", "variant", "verdict", "effect", "low", "high", "unit", "p", "replicates", "sentence")


def verdict_row(run_folder: Path, step: int) -> Row:
    """The verdicts of a run that has ended, as its summary gives them, or would if it had been written."""
    summary = _summary(run_folder)
    table = Table(
        COLUMNS,
        [
            (
                claim.id,
                claim.arm,
                claim.variant,
                claim.verdict,
                claim.effect.value,
                claim.effect.low,
                claim.effect.high,
                claim.effect.unit,
                claim.p_value,
                claim.effect.n,
                one_line(claim.sentence),
            )
            for claim in summary.claims
        ],
    )
    answer = "\n".join(f"- {one_line(sentence)}" for sentence in summary.answer)
    return Row(step, summary.seconds or 0.0, {}, {NAME: f"{answer}\n\n{_markdown(table)}"}, {NAME: table})


def _summary(run_folder: Path) -> RunSummary:
    from frostline.stats import read_summary, summarise  # seconds of imports, which only an end needs

    written, journal = run_folder / SUMMARY_FILE, run_folder / JOURNAL_FOLDER / RUN_FILE
    if written.exists() and written.stat().st_mtime >= journal.stat().st_mtime:
        return read_summary(run_folder)
    return summarise(run_folder)


def _markdown(table: Table) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: str | float | None) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value).replace("|", "\\|")
