"""What stands on the report's page? The run's facts in the order of reading; the template only prints them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frostline import __version__
from frostline.errors import RunFolderError
from frostline.moments import moment_for_people
from frostline.report import gallery, numbers
from frostline.report.cards import ArmCard, Fact, card
from frostline.report.gallery import Absent, Drawing
from frostline.report.machines import machines_of
from frostline.report.measured import measured_tables
from frostline.report.opened import Run
from frostline.report.style import NARROW, WIDE, Style
from frostline.report.table import Table
from frostline.report.texts import PromptSamples, samples_of, text_table
from frostline.run_folder import RECIPE_FILE, VariantPrepared, read_unit_records, records_of
from frostline.stats import RULES, ClaimResult, RunSummary, VariantSummary, verdict_label, verdict_symbol

SECTIONS = {
    "loss": "Loss",
    "style": "Style",
    "weights": "Weights",
    "cost": "Time and memory",
    "quality": "Text beside loss",
    "samples": "Generated samples",
    "forgetting": "Forgetting and overfitting",
}
SYMBOLS = {"supported": "✓", "refuted": "✗", "undecided": "?"}
PROMPTS_SHOWN = 3
KEY_FIGURES = frozenset({"loss", "rates", "front", "scatter", "drift", "time", "quality", "forgetting"})
"""What each of several variants shows; the other figures are among the files of `frostline report --figures`."""
OPTIONAL = frozenset({"loss_over_epochs", "loss_over_flops", "gradient_norm", "front"})
"""Figures that nobody misses where the run has no data for them."""
MOST_VARIANTS_AT_BOTH_WIDTHS = 4
"""With more variants, figures are drawn once and scroll on a phone, so that the report stays quick to make."""

STUDY_NUMBERS = {
    "C1": "In the original study (GPT-Neo-125M on Moby-Dick, one run) the training loss of full training fell from "
    "3.78 to 2.65 nats a token.",
    "C7": "In the original study (GPT-Neo-125M on Moby-Dick, one run) freezing took 89 s against 120 s: 25.8 % less.",
}
"""The study's own numbers, shown beside those of the run."""

LARGEST_OVERLAP = 0.1
"""Share of held-out text in the training text above which a reader must be told before anything else."""


@dataclass(frozen=True)
class ClaimRow:
    result: ClaimResult
    colour: str
    symbol: str
    label: str
    """The verdict, with what it is restricted to."""
    share: str
    """The effect in per cent of what the baseline gained; '' where it is not in nats."""
    effect: str
    interval: str
    p_value: str
    n: str


@dataclass(frozen=True)
class ClaimGroup:
    id: str
    claim: str
    rows: list[ClaimRow]
    study: str = ""
    """What the original study found, for comparison; '' where it gives no number."""


@dataclass(frozen=True)
class Section:
    id: str
    heading: str
    tables: list[Table]
    figures: list[Drawing]
    absent: list[Absent]
    samples: list[PromptSamples]
    texts: Table | None


@dataclass(frozen=True)
class VariantPage:
    anchor: str
    label: str
    facts: list[Fact]
    cards: list[ArmCard]
    first: Drawing | None
    """Loss over time, the figure of the first screen."""
    summary: VariantSummary
    sections: list[Section]


@dataclass(frozen=True)
class Page:
    run: RunSummary
    facts: list[Fact]
    alerts: list[str]
    rules: str
    """By which rules the claims were judged, where a reader might take them for others."""
    claims: list[ClaimGroup]
    overview: Drawing | None
    variants: list[VariantPage]
    recipe: str
    hashes: list[Fact]
    environment: list[Fact]
    commands: list[str]
    switches: list[Fact]
    """Name of each arm, and its colour: figures show it or not."""

    @property
    def arms(self) -> list[str]:
        """Names of the arms, in the recipe's order."""
        return [switch.name for switch in self.switches]

    @property
    def links(self) -> list[Fact]:
        """Heading of each section of a run of one variant, and its anchor; the variants of another."""
        if len(self.variants) > 1:
            return [Fact(variant.label, f"{variant.anchor}top") for variant in self.variants]
        return [Fact(section.heading, section.id) for section in self.variants[0].sections] if self.variants else []


def page_of(run: Run) -> Page:
    """Everything that the template prints."""
    summary = run.summary
    several = len(summary.variants) > 1
    variants = [_variant(run, variant, index, several) for index, variant in enumerate(summary.variants)]
    overview = None
    if several:
        drawn = gallery.draw(gallery.OVERVIEW, run.plot, summary.variants[0], (WIDE, NARROW))
        overview = drawn if isinstance(drawn, Drawing) else None
    arms = tuple(summary.variants[0].arms) if summary.variants else ()
    style = Style(arms, summary.baseline)
    return Page(
        run=summary,
        facts=_facts(summary),
        alerts=alerts_of(summary),
        rules=rules_of(summary),
        claims=_claims(summary, style),
        overview=overview,
        variants=variants,
        recipe=_recipe(run),
        hashes=_hashes(run),
        environment=[Fact(name, value) for name, value in summary.environment.items()] + _machines(run),
        commands=[
            f"frostline run {RECIPE_FILE}",
            "frostline report RUN --figures figures --data data",
            "frostline show RUN --json",
        ],
        switches=[Fact(arm, style.colour_name(arm)) for arm in arms],
    )


def _machines(run: Run) -> list[Fact]:
    """Which machines of a cluster took part; nothing where one process did all."""
    told = machines_of(read_unit_records(run.folder), run.summary.baseline)
    return [Fact("cluster", told)] if told else []


def _facts(summary: RunSummary) -> list[Fact]:
    tokens = summary.batch * summary.accumulation * summary.window_length
    told = [
        _steps(summary, tokens),
        Fact("replicates", str(len(summary.seeds)), f"seeds {', '.join(map(str, summary.seeds))}"),
        Fact("began", moment_for_people(summary.started_at)),
    ]
    if summary.seconds is not None:
        told.append(Fact("took", numbers.seconds(summary.seconds)))
    return told


def _steps(summary: RunSummary, tokens: int) -> Fact:
    of = f"of {numbers.count(tokens)} tokens"
    if summary.budget_seconds is None:
        return Fact("steps", numbers.count(summary.steps), of)
    steps = {name: arm.steps for variant in summary.variants[:1] for name, arm in variant.arms.items()}
    told = ", ".join(f"{name} {numbers.count(count)}" for name, count in steps.items())
    return Fact("time to train", numbers.seconds(summary.budget_seconds), f"an arm; steps {of}: {told}")


def _variant_facts(variant: VariantSummary) -> list[Fact]:
    return [
        Fact("model", variant.model, f"{numbers.count(variant.parameters)} parameters, {variant.layers} layers"),
        Fact(
            "corpus", variant.corpus, f"{numbers.count(variant.corpus_tokens)} tokens, read {variant.epochs:.2g} times"
        ),
        *row_facts(variant),
        Fact("windows", numbers.count(variant.windows), _told_of_windows(variant)),
        Fact("computed", f"{variant.precision} on {variant.device}", variant.schedule),
    ]


def row_facts(variant: VariantSummary) -> list[Fact]:
    """What became of the rows of a table or of conversations; nothing of plain text."""
    if not variant.corpus_rows:
        return []
    left_out = [f"{numbers.count(count)} {reason}" for reason, count in variant.corpus_left_out.items()]
    told = [f"left out: {', '.join(left_out)}" if left_out else "none left out"]
    if variant.corpus_cut:
        told.append(f"{numbers.count(variant.corpus_cut)} cut to the window")
    facts = [Fact("rows", numbers.count(variant.corpus_rows), "; ".join(told))]
    if variant.template_date is not None:
        facts.append(Fact("today", variant.template_date, "as the chat template writes it"))
    return facts


def _told_of_windows(variant: VariantSummary) -> str:
    told = [f"and {numbers.count(variant.held_out_windows)} held out"]
    if variant.beginning:
        told.append(f"every window begins with {variant.beginning}")
    if variant.race_windows:
        told.append(f"{numbers.count(variant.race_windows)} set apart to race learning rates")
    if variant.duplicates:
        told.append(f"{numbers.count(variant.duplicates)} rows or paragraphs of the text repeat")
    if variant.held_out_overlap:
        told.append(f"{numbers.share(variant.held_out_overlap)} of held-out 16-grams stand in the training text")
    return "; ".join(told)


def alerts_of(summary: RunSummary) -> list[str]:
    """What a reader must know before believing anything else."""
    alerts = []
    if summary.status != "finished":
        alerts.append("The run was interrupted: what follows is what there was until then.")
    if summary.changes:
        alerts.append(f"The run went on under other conditions after it was stopped: {'; '.join(summary.changes)}.")
    for variant in summary.variants:
        where = f"{variant.variant}: " if variant.variant else ""
        if variant.held_out_overlap > LARGEST_OVERLAP:
            alerts.append(
                f"{where}{numbers.share(variant.held_out_overlap)} of the held-out text stands in the training text "
                "too (in runs of 16 tokens): the held-out loss shows in part what was learnt by heart."
            )
        if variant.inexact:
            alerts.append(f"{where}Inexact, for all arms alike: {' and '.join(variant.inexact)}.")
        alerts += [f"{where}{sentence}" for sentence in _divergence(variant)]
        if not variant.checks.pairing_holds:
            alerts.append(f"{where}The arms were not paired. {variant.checks.pairing}")
        if not variant.checks.frozen_holds:
            alerts.append(f"{where}Frozen weights moved. {variant.checks.frozen}")
        alerts += [
            f"{where}{arm.arm} saved more time than products of matrices alone could "
            f"({numbers.share(arm.saving.value)} against {numbers.share(arm.ceiling_cached)}): other work was saved, "
            "such as the optimizer's, or something else made the arms differ, too."
            for arm in variant.arms.values()
            if arm.saving is not None and arm.saving.low is not None and arm.saving.low > arm.ceiling_cached
        ]
        told = list(variant.checks.failed)
        told += [sentence for arm in variant.arms.values() for sentence in arm.failed if sentence not in told]
        alerts += [f"{where}{sentence}" for sentence in told]
    if not summary.variants:
        alerts.append("The run ended before its first arm began.")
    return alerts


def _divergence(variant: VariantSummary) -> list[str]:
    """A sentence for each arm of which a seed diverged."""
    return [
        f"{name} diverged in {'seed' if len(arm.diverged) == 1 else 'seeds'} {', '.join(map(str, arm.diverged))}: its "
        "loss was not finite, or ended above where it began. A smaller learning rate is the usual remedy."
        for name, arm in variant.arms.items()
        if arm.diverged
    ]


def rules_of(summary: RunSummary, now: str = __version__) -> str:
    """By which rules the claims were judged, where those are not the ones of the run's own version `now`."""
    if summary.judged_by != RULES:
        return (
            f"Judged by the rules of {summary.judged_by}: verdicts and answer are those of their own time, kept from "
            "summary.json; the other numbers are recomputed from the journal. To judge it by the rules of "
            f"{RULES}, move summary.json away and write the report again."
        )
    if summary.frostline_version != now:
        return (
            f"Run by Frostline {summary.frostline_version}, recomputed from its journal, and judged by the rules of "
            f"{summary.judged_by}."
        )
    return ""


def _claims(summary: RunSummary, style: Style) -> list[ClaimGroup]:
    groups: dict[str, list[ClaimResult]] = {}
    for claim in summary.claims:
        groups.setdefault(claim.id, []).append(claim)
    return [
        ClaimGroup(id, rows[0].claim, [_claim(row, style) for row in rows], STUDY_NUMBERS.get(id, ""))
        for id, rows in groups.items()
    ]


def _claim(result: ClaimResult, style: Style) -> ClaimRow:
    effect = result.effect
    return ClaimRow(
        result=result,
        colour=style.colour_name(result.arm) if result.arm in style.arms else "",
        symbol=verdict_symbol(result),
        label=verdict_label(result),
        share=_share_of_gain(result),
        effect=numbers.in_unit(effect.value, effect.unit),
        interval=numbers.interval(effect),
        p_value=numbers.p_value(result.p_value),
        n=f"n = {effect.n}, {effect.method}" if effect.n else "",
    )


def _share_of_gain(result: ClaimResult) -> str:
    share = result.share_of_gain
    if share is None or share.value is None:
        return ""
    return f"{numbers.share(share.value)} of what the baseline gained"


def _variant(run: Run, variant: VariantSummary, index: int, several: bool) -> VariantPage:
    style = Style(tuple(variant.arms), run.summary.baseline)
    label = variant.variant if several else ""
    return VariantPage(
        anchor=f"variant-{index}-" if several else "",
        label=label,
        facts=_variant_facts(variant),
        cards=[card(arm, style) for arm in variant.arms.values()],
        first=_first_figure(run, variant),
        summary=variant,
        sections=_sections(run, variant, style),
    )


def _first_figure(run: Run, variant: VariantSummary) -> Drawing | None:
    drawn = gallery.draw(gallery.FIRST, run.plot, variant, (WIDE, NARROW))
    return drawn if isinstance(drawn, Drawing) else None


def _sections(run: Run, variant: VariantSummary, style: Style) -> list[Section]:
    several = len(run.summary.variants)
    kinds = gallery.FIGURES if several == 1 else [kind for kind in gallery.FIGURES if kind.name in KEY_FIGURES]
    widths = (WIDE, NARROW) if several <= MOST_VARIANTS_AT_BOTH_WIDTHS else (WIDE,)
    drawn = [gallery.draw(kind, run.plot, variant, widths) for kind in kinds]
    sections = []
    for id, heading in SECTIONS.items():
        figures = [one for one in drawn if isinstance(one, Drawing) and one.kind.section == id]
        absent = [
            one for one in drawn if isinstance(one, Absent) and one.kind.section == id and one.kind.name not in OPTIONAL
        ]
        samples = samples_of(run, variant, style) if id == "samples" else []
        tables = measured_tables(variant, run.summary.baseline) if id == "loss" else []
        texts = text_table(variant, style) if id == "quality" else None
        if figures or absent or samples or tables or texts:
            sections.append(Section(id, heading, tables, figures, absent, samples, texts))
    return sections


def _recipe(run: Run) -> str:
    try:
        return run.recipe_text()
    except RunFolderError as error:
        return f"# {error}"


def _hashes(run: Run) -> list[Fact]:
    told = [Fact("frostline", run.summary.frostline_version), Fact("recipe, SHA-256", run.summary.recipe_sha256)]
    prepared: Sequence[VariantPrepared] = records_of(run.lines, VariantPrepared)
    for variant in prepared:
        where = f" ({variant.variant})" if len(prepared) > 1 else ""
        told.append(Fact(f"weights at the start, SHA-256{where}", variant.model_sha256))
        told.append(Fact(f"corpus, SHA-256{where}", variant.corpus.sha256))
        if variant.retention is not None:
            told.append(Fact(f"retention corpus, SHA-256{where}", variant.retention.sha256))
        retention = None if variant.retention is None else variant.retention.revision
        commits = {"model": variant.model_revision, "corpus": variant.corpus.revision, "retention corpus": retention}
        told += [Fact(f"{name}, commit{where}", commit) for name, commit in commits.items() if commit is not None]
    return told
