"""What does a tracker show of the end? The claims with their verdicts over all replicates, which no curve shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from frostline.run_folder import JOURNAL_FOLDER, RUN_FILE, SUMMARY_FILE
from frostline.text import one_line
from frostline.trackers.tracker import Row, Table

NAME = "verdicts"
COLUMNS = ("claim", "arm", "variant", "verdict", "effect", "low", "high", "unit", "p", "replicates", "sentence")


def verdict_row(run_folder: Path, step: int) -> Row:
    """The verdicts of a run that has ended, as its summary gives them, or would if it had been written."""
    summary = _summary(run_folder)
    table = Table(COLUMNS, [_cells(claim) for claim in summary["claims"]])
    answer = "\n".join(f"- {one_line(sentence)}" for sentence in summary["answer"])
    return Row(step, summary["seconds"] or 0.0, {}, {NAME: f"{answer}\n\n{_markdown(table)}"}, {NAME: table})


def _cells(claim: dict[str, Any]) -> Sequence[str | int | float | None]:
    effect = claim["effect"]
    return (
        *(claim[key] for key in ("id", "arm", "variant", "verdict")),
        *(effect[key] for key in ("value", "low", "high", "unit")),
        claim["p_value"],
        effect["n"],
        one_line(claim["sentence"]),
    )


def _summary(run_folder: Path) -> dict[str, Any]:
    """The content of `summary.json`, which is read as any script may: to judge anew takes seconds of imports."""
    written, journal = run_folder / SUMMARY_FILE, run_folder / JOURNAL_FOLDER / RUN_FILE
    if written.exists() and written.stat().st_mtime_ns >= journal.stat().st_mtime_ns:
        values: dict[str, Any] = json.loads(written.read_bytes())
        return values
    from frostline.stats import summarise

    return asdict(summarise(run_folder))


def _markdown(table: Table) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: str | float | None) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value).replace("|", "\\|")
