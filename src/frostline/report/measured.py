"""How far does a held-out loss reach? To other seeds, other windows, and text that training has not seen."""

from __future__ import annotations

from frostline.readable import plural
from frostline.report import numbers
from frostline.report.table import Table
from frostline.stats import POPULATION, VariantSummary


def measured_tables(variant: VariantSummary, baseline: str) -> list[Table]:
    """Those for which the variant has numbers."""
    found = [_differences(variant, baseline), _by_overlap(variant)]
    return [table for table in found if table is not None]


def _differences(variant: VariantSummary, baseline: str) -> Table | None:
    compared = [
        (own, own.crossed) for own in variant.comparisons if own.measure == "held_out_after" and own.crossed is not None
    ]
    if not compared:
        return None
    populations = list(dict.fromkeys(POPULATION[crossed.method] for _, crossed in compared))
    rows = tuple(
        (
            own.arm,
            numbers.in_unit(own.difference.value, own.difference.unit),
            numbers.interval(own.difference) or numbers.MISSING,
            numbers.interval(crossed) or numbers.MISSING,
        )
        for own, crossed in compared
    )
    caption = (
        f"Held-out loss after training, arm minus {baseline}, with 95 % intervals. The first speaks of other seeds, "
        f"judged by these same {plural(variant.held_out_windows, 'window')}; the second of {' or '.join(populations)}. "
        "Neither speaks of another text."
    )
    return Table(("arm", f"minus {baseline}", "other seeds", "other windows too"), rows, caption)


def _by_overlap(variant: VariantSummary) -> Table | None:
    copied = variant.held_out_copied_windows
    if not copied:
        return None
    rows = tuple(
        (name, *(numbers.estimate(arm.held_out_by_overlap.get(f"{kind}_{when}")) for kind in ("new", "copied")
                 for when in ("before", "after")))
        for name, arm in variant.arms.items()
        if arm.held_out_by_overlap
    )  # fmt: skip
    caption = (
        f"{copied} of {plural(variant.held_out_windows, 'held-out window')} hold a run of 16 tokens that stands in the "
        "training text too. Where the loss falls more in these, part of the gain was learnt by heart."
    )
    header = ("arm", "new text, before", "after", "with copied text, before", "after")
    return Table(header, rows, caption) if rows else None
