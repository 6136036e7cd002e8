"""How do commands lay out a table in the terminal?"""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from frostline.experiment import Finding
from frostline.report import numbers
from frostline.text import one_line


def empty_table(*headings: str) -> Table:
    """Columns without lines between them: names at the left, numbers at the right. Where it is narrow, names fold."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left", no_wrap=index > 0, overflow="fold")
    return table


def draw_findings(findings: Sequence[Finding]) -> Table:
    """What was checked of a run folder, and what was found."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        verdict, style = {True: ("holds", "green"), False: ("BROKEN", "bold red"), None: ("not checked", "yellow")}[
            finding.holds
        ]
        table.add_row(Text(verdict, style), Text(one_line(finding.what)), Text(one_line(finding.sentence)))
    return table


def at_most(ceiling: float, ceiling_cached: float) -> str:
    """The largest saving that a plan's arithmetic allows, below it in brackets the same with a stored prefix."""
    truncated, cached = numbers.share(ceiling), numbers.share(ceiling_cached)
    return truncated if truncated == cached else f"{truncated}\n({cached})"
