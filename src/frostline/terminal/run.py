"""How does a terminal show a run? The answer, the arms, the claims with their verdicts (`frostline show`)."""

from __future__ import annotations

from os import PathLike

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from frostline.readable import learning_rate
from frostline.report import MISSING, Run, alerts_of, numbers, open_run, row_facts, rules_of, spread_note
from frostline.stats import Estimate, RunSummary, VariantSummary, verdict_label, verdict_symbol
from frostline.text import one_line

_VERDICT_STYLES = {"supported": "bold green", "refuted": "bold red", "undecided": "yellow"}


def show_run(run: Run | str | PathLike[str]) -> RenderableType:
    """A renderable for a rich console. Raises `RunFolderError` if `run` is a folder that cannot be read."""
    summary = run.summary if isinstance(run, Run) else open_run(run).summary
    parts: list[RenderableType] = [Text(one_line(summary.name), style="bold")]
    if summary.question:
        parts.append(Text(one_line(summary.question), style="dim"))
    parts += [Text(f"! {one_line(alert)}", style="bold red") for alert in alerts_of(summary)]
    parts.append(Text(""))
    for variant in summary.variants:
        label = f"{one_line(variant.variant)}: " if variant.variant else ""
        parts += [Text(label + one_line(sentence)) for sentence in variant.bottom_line]
    parts += [Text(one_line(sentence)) for sentence in summary.answer]
    if told := rules_of(summary):
        parts.append(Text(one_line(told), style="dim"))
    for variant in summary.variants:
        heading = one_line(variant.variant) if len(summary.variants) > 1 else "Arms"
        parts += [Text(f"\n{heading}", style="bold"), _arms(variant, summary.baseline)]
        parts += [Text(one_line(f"{fact.name}: {fact.value}, {fact.note}"), style="dim") for fact in row_facts(variant)]
    if summary.claims:
        parts += [Text("\nClaims", style="bold"), _claims(summary)]
    return Padding(Group(*parts), (0, 1))


def _arms(variant: VariantSummary, baseline: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for heading, side in (
        ("arm", "left"), ("rate", "right"), ("trained", "right"), ("held-out loss", "right"), ("gain kept", "right"),
        ("time in all", "right"), ("saving r", "right"), ("peak memory", "right"),
    ):  # fmt: skip
        table.add_column(
            heading,
            justify="right" if side == "right" else "left",
            no_wrap=heading in ("arm", "rate", "held-out loss", "saving r"),
        )
    for name, arm in variant.arms.items():
        cells = [
            "\n".join([one_line(name)] + ["baseline"] * (name == baseline) + ["earlier run"] * bool(arm.reused_from)),
            learning_rate(arm.learning_rate) + "\nraced" * bool(arm.rate_chosen),
            numbers.count(arm.trained_parameters),
            _with_seeds(arm.held_out_after, [one.held_out_after for one in arm.by_seed]),
            MISSING if arm.share_of_gain_kept is None else numbers.share(arm.share_of_gain_kept.value),
            numbers.seconds(arm.training_seconds.value),
            MISSING if arm.saving is None else "\n".join(numbers.estimate(arm.saving).split(" ", 1)),
            numbers.size(arm.peak_bytes),
        ]
        table.add_row(*(Text(cell) for cell in cells), style="red" if arm.failed else None)
    return table


def _with_seeds(found: Estimate, by_seed: list[float | None]) -> str:
    """A value over its interval, or over the seeds' own values where those are few."""
    note = spread_note(found, by_seed).removeprefix("seeds ")
    return f"{numbers.in_unit(found.value, found.unit).removesuffix(' nats')}\n{note}".strip()


def _claims(summary: RunSummary) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("", "arm", "verdict", "what was found"):
        table.add_column(heading, no_wrap=heading != "what was found")
    for claim in summary.claims:
        verdict = f"{verdict_symbol(claim)} {one_line(verdict_label(claim))}"
        table.add_row(
            Text(one_line(claim.id), style="bold"),
            Text(one_line(claim.arm)),
            Text(verdict, style=_VERDICT_STYLES.get(claim.verdict, "")),
            Text(one_line(claim.sentence)),
        )
    return table
