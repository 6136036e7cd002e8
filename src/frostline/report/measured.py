"""How far does a held-out loss reach? To other seeds, other windows, and text that training has not seen."""

from __future__ import annotations

from frostline.readable import plural
from frostline.report import numbers
from frostline.report.table import Table
from frostline.stats import POPULATION, GainOfPart, VariantSummary

PARTS = {("copies", "copied"): "windows with copied text", ("copies", "new"): "windows of new text"}
"""Parts whose names say little by themselves."""


def measured_tables(variant: VariantSummary, baseline: str) -> list[Table]:
    """Those for which the variant has numbers."""
    found = [_differences(variant, baseline), _who_gains(variant, baseline)]
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


def _who_gains(variant: VariantSummary, baseline: str) -> Table | None:
    """What each arm gained on each part of the held-out text."""
    gains = {name: {(one.split, one.part): one for one in arm.gained_by} for name, arm in variant.arms.items()}
    gains = {name: parts for name, parts in gains.items() if parts}
    parts = {place: one for own in gains.values() for place, one in own.items()}
    if not parts:
        return None
    rows = tuple(
        (
            PARTS.get(place, place[1]),
            numbers.count(one.predictions),
            *(text for name, own in gains.items() for text in _gained(own.get(place), name == baseline)),
        )
        for place, one in parts.items()
    )
    columns = [(name,) if name == baseline else (name, f"minus {baseline}") for name in gains]
    header = ("part of the held-out text", "tokens", *(text for names in columns for text in names))
    return Table(header, rows, _caption(variant, baseline, {split for split, _ in parts}))


def _gained(found: GainOfPart | None, is_baseline: bool) -> tuple[str, ...]:
    value = numbers.MISSING if found is None else numbers.number(found.gained.value)
    return (value,) if is_baseline else (value, numbers.bare(None if found is None else found.difference))


def _caption(variant: VariantSummary, baseline: str, splits: set[str]) -> str:
    told = [
        "Who gains: how far the loss fell in training, nats a token, on parts of the held-out text, and that minus "
        f"what {baseline} gained there."
    ]
    if any(one.difference is not None and one.difference.low is not None for arm in variant.arms.values()
           for one in arm.gained_by):  # fmt: skip
        told.append("Brackets are 95 % intervals over seeds, for these windows.")
    if "frequency" in splits:
        told.append("Tokens are ranked by their count in the training text.")
    if "copies" in splits:
        told.append(
            f"{variant.held_out_copied_windows} of {plural(variant.held_out_windows, 'held-out window')} hold a run of "
            "16 tokens that stands in the training text too: where the loss falls more in these, part of the gain was "
            "learnt by heart."
        )
    return " ".join(told)
