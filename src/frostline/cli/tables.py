"""How do commands lay out a table in the terminal?"""

from __future__ import annotations

from rich.table import Table

from frostline.report import numbers


def empty_table(*headings: str) -> Table:
    """Columns without lines between them: names at the left, numbers at the right."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left", no_wrap=True)
    return table


def at_most(ceiling: float, ceiling_cached: float) -> str:
    """The largest saving that a plan's arithmetic allows, below it in brackets the same with a stored prefix."""
    truncated, cached = numbers.share(ceiling), numbers.share(ceiling_cached)
    return truncated if truncated == cached else f"{truncated}\n({cached})"
