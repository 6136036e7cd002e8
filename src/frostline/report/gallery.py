"""Which figures does a report have, in which order? Captions tell what one sees and what n is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from frostline.readable import learning_rate, plural
from frostline.report import numbers
from frostline.report.figure_numbers import numbers_of, table_of
from frostline.report.figures.loss import smoothing_window
from frostline.report.figures.parts import AnyChart
from frostline.report.plots import NothingMeasured, RunPlots
from frostline.report.table import Table
from frostline.stats import ArmSummary, Estimate, RunSummary, VariantSummary
from frostline.text import one_line

Facts = tuple[RunSummary, VariantSummary]


@dataclass(frozen=True)
class FigureKind:
    """A figure as the report knows it; `name` is also its file's name."""

    name: str
    section: str
    title: str
    draw: Callable[[RunPlots, str, int], AnyChart]
    caption: Callable[[Facts], str]
    alternative: Callable[[Facts], str]
    """What the figure shows, for who cannot see it."""


@dataclass(frozen=True)
class Drawing:
    """A figure of one run, drawn at each of the widths asked for."""

    kind: FigureKind
    caption: str
    alternative: str
    charts: tuple[AnyChart, ...]

    @property
    def numbers(self) -> tuple[pl.DataFrame, ...]:
        """What it draws."""
        return numbers_of(self.charts[0])

    @property
    def tables(self) -> list[Table]:
        """The same as tables for a page."""
        return table_of(self.numbers)


@dataclass(frozen=True)
class Absent:
    """A figure that the run has no data for, and why."""

    kind: FigureKind
    reason: str


def draw(kind: FigureKind, plots: RunPlots, variant: VariantSummary, widths: tuple[int, ...]) -> Drawing | Absent:
    """The figure of `kind` for `variant` at each of `widths`, or the reason why there is none."""
    facts = (plots.run.summary, variant)
    try:
        charts = tuple(kind.draw(plots, variant.variant, width) for width in widths)
    except NothingMeasured as absent:
        return Absent(kind, absent.message)
    return Drawing(kind, one_line(kind.caption(facts)), one_line(kind.alternative(facts)), charts)


def _replicates(facts: Facts) -> str:
    count = max((arm.replicates for arm in facts[1].arms.values()), default=0)
    return "1 replicate" if count == 1 else f"{count} replicates"


def _interval_note(facts: Facts) -> str:
    if max((arm.replicates for arm in facts[1].arms.values()), default=0) < 2:
        return "One replicate gives no interval over replicates."
    return "Lines are 95 % intervals; one that leaves the figure is cut at its edge."


def _band_note(facts: Facts) -> str:
    count = max((arm.replicates for arm in facts[1].arms.values()), default=0)
    if count < 2:
        return "One replicate has no band."
    return (
        "The band is the range of the two replicates." if count == 2 else "The band is a 95 % interval over replicates."
    )


def _by_arm(facts: Facts, what: str, get: Callable[[ArmSummary], Estimate | None]) -> str:
    told = [f"{name} {numbers.estimate(get(arm))}" for name, arm in facts[1].arms.items() if get(arm) is not None]
    return f"{what}: {', '.join(told)}." if told else what


def _quality_caption(facts: Facts) -> str:
    return (
        "Loss and text need not agree. The dashed line is the untouched model, the solid one how the held-out text "
        "itself goes on after the same prompts: nearer to that is nearer to the text, and more varied is not better. "
        f"{_replicates(facts)}. {_interval_note(facts)}"
    )


def _counts(facts: Facts, get: Callable[[ArmSummary], Estimate | None]) -> str:
    found = next((estimate for arm in facts[1].arms.values() if (estimate := get(arm)) is not None), None)
    return f"n = {found.n}, {found.method}" if found is not None and found.n else _replicates(facts)


def _trial_steps(facts: Facts) -> str:
    steps = sorted({max(own.steps for own in curve.trials) for curve in facts[1].rates.values()})
    return plural(steps[0], "step") if len(steps) == 1 else f"{steps[0]} to {steps[-1]} steps"


def _beaten(facts: Facts) -> str:
    """Who is beaten by whom, and how surely."""
    words = {"seconds": "time", "bytes": "memory"}
    told = [
        f"{point.arm} is beaten in loss and {words[point.axis]} by {', '.join(point.beaten_by)}"
        f"{'' if point.surely_beaten_by else ', not surely'}"
        for point in facts[1].fronts
        if point.beaten_by
    ]
    return f"{'; '.join(told)}." if told else "None is beaten."


OVERVIEW = FigureKind(
    "variants",
    "overview",
    "What the varied key changes",
    lambda plots, variant, width: plots.variants(variant, width),
    lambda facts: f"Each arm over the values of the varied key. {_replicates(facts)} each. {_interval_note(facts)}",
    lambda facts: "Line charts of the saving, the overfitting and the held-out loss of each arm over the varied key.",
)

FIRST = FigureKind(
    "loss_over_time",
    "answer",
    "Loss over training time",
    lambda plots, variant, width: plots.loss_over_time(variant, width),
    lambda facts: (
        "Lower is better, further left is sooner. Diamonds are evaluations on text that no arm trains on; faint lines "
        f"are single replicates. Only the time of the steps counts. {_replicates(facts)}."
    ),
    lambda facts: _by_arm(
        facts, "Line chart of held-out loss over seconds; at the end", lambda arm: arm.held_out_after
    ),
)
"""What stands on the first screen."""

FIGURES: tuple[FigureKind, ...] = (
    FigureKind(
        "loss",
        "loss",
        "Training loss, step by step",
        lambda plots, variant, width: plots.loss(variant, width),
        lambda facts: (
            f"Faint: the raw loss of each replicate. Strong: the mean, smoothed over "
            f"{smoothing_window(facts[0].steps)} steps. {_band_note(facts)} Diamonds: held-out loss. "
            f"{_replicates(facts)} of {facts[0].steps} steps."
        ),
        lambda facts: _by_arm(facts, "Line chart of the loss of each arm; at the end", lambda arm: arm.loss_last),
    ),
    FigureKind(
        "loss_over_epochs",
        "loss",
        "Held-out loss, epoch by epoch",
        lambda plots, variant, width: plots.loss_over_epochs(variant, width),
        lambda facts: f"One epoch reads the training text once. {_replicates(facts)}, faint; their mean, strong.",
        lambda facts: _by_arm(
            facts, "Line chart of held-out loss over epochs; at the end", lambda arm: arm.held_out_after
        ),
    ),
    FigureKind(
        "gradient_norm",
        "loss",
        "Norm of the gradient",
        lambda plots, variant, width: plots.gradient_norm(variant, width),
        lambda facts: (
            "Before clipping, logarithmic; above the dashed line gradients are cut. "
            f"{_by_arm(facts, 'Share of clipped steps', lambda arm: arm.clipped_share)} {_replicates(facts)}."
        ),
        lambda facts: _by_arm(facts, "Line chart of gradient norms; clipped steps", lambda arm: arm.clipped_share),
    ),
    FigureKind(
        "loss_difference",
        "loss",
        "The same, minus the baseline",
        lambda plots, variant, width: plots.loss_difference(variant, width),
        lambda facts: (
            f"All arms read the same windows at each step, so their difference from {facts[0].baseline} is free of the "
            f"noise that they share. Above zero: the arm's loss is higher. {_band_note(facts)} "
            f"{_replicates(facts)}."
        ),
        lambda facts: _by_arm(facts, "Line chart of loss differences; losses at the end", lambda arm: arm.loss_last),
    ),
    FigureKind(
        "scatter",
        "loss",
        "Each arm against the baseline",
        lambda plots, variant, width: plots.scatter(variant, width),
        lambda facts: (
            f"One point a step and replicate: below the dashed line y = x, {facts[0].baseline} had the lower loss. "
            f"Colour runs from early to late steps. {_replicates(facts)} of {facts[0].steps} steps."
        ),
        lambda facts: f"Scatter of the losses of each arm against those of {facts[0].baseline}, with the line y = x.",
    ),
    FigureKind(
        "rates",
        "loss",
        "Loss over the learning rate",
        lambda plots, variant, width: plots.rates(variant, width),
        lambda facts: (
            f"Each arm raced a few rates before the run, {_trial_steps(facts)} each, judged on {facts[1].race_windows} "
            "windows that serve nothing else. Dotted: the rate that it then trained at. Dashed: the untouched model; "
            "crosses at the top diverged, or ended worse than it."
        ),
        lambda facts: (
            "Line chart of the loss over the learning rate; rates chosen: "
            + ", ".join(f"{name} {learning_rate(one.chosen)}" for name, one in facts[1].rates.items() if one.chosen)
            + "."
        ),
    ),
    FigureKind(
        "token_share",
        "style",
        "Do the arms write like the corpus?",
        lambda plots, variant, width: plots.token_share(variant, width),
        lambda facts: (
            "Share of generated tokens that are among the corpus's most frequent. Same prompts and same sampling noise "
            f"for all arms. {_counts(facts, lambda arm: arm.common_share_after)}."
        ),
        lambda facts: _by_arm(facts, "Share of common tokens after training", lambda arm: arm.common_share_after),
    ),
    FigureKind(
        "weight_change",
        "weights",
        "How much the weights change in a step",
        lambda plots, variant, width: plots.weight_change(variant, width),
        lambda facts: (
            "Norm of W(t) − W(t−1), mean over the matrices that the arm trains, by role; logarithmic. Matrices that "
            "do not move are left out. Dashed: what AdamW makes of gradients of pure noise; what is left above it is "
            f"coherence of gradients. {_replicates(facts)}."
        ),
        lambda facts: "Line charts of the weight change per step for each role and arm, on a logarithmic scale.",
    ),
    FigureKind(
        "drift",
        "weights",
        "Where the weights ended up",
        lambda plots, variant, width: plots.drift(variant, width),
        lambda facts: (
            "Drift from the start relative to the size of each matrix, layers from bottom to top; one scale for all "
            f"arms. Empty outlines are frozen: byte-identical to the start. Mean over {_replicates(facts)}."
        ),
        lambda facts: "Heat maps of the relative drift of each watched matrix, layer by layer, one map for each arm.",
    ),
    FigureKind(
        "front",
        "cost",
        "What a loss costs",
        lambda plots, variant, width: plots.front(variant, width),
        lambda facts: (
            "Loss at the end against the time and the memory that it took: towards the lower left is better. The "
            f"dashed line joins the arms that no other beats in both. {_beaten(facts)} {_replicates(facts)}; "
            "memory was measured once."
        ),
        lambda facts: "Dots of the arms: held-out loss at the end over training time, and over peak memory.",
    ),
    FigureKind(
        "loss_over_flops",
        "cost",
        "Loss over arithmetic",
        lambda plots, variant, width: plots.loss_over_flops(variant, width),
        lambda facts: (
            "The same curves over the floating-point operations that their steps need by analysis: what a machine "
            f"would give that turned them all into time. {_replicates(facts)}."
        ),
        lambda facts: _by_arm(
            facts, "Line chart of held-out loss over operations; at the end", lambda arm: arm.held_out_after
        ),
    ),
    FigureKind(
        "time",
        "cost",
        "Time a step, and what the arms save",
        lambda plots, variant, width: plots.time(variant, width),
        lambda facts: (
            "A timed step, machine warm-up left out, and the saving r against the baseline. Ticks mark the most "
            "that the operations allow: the first with a truncated backward, the second with a stored prefix as well. "
            f"{_replicates(facts)}. {_interval_note(facts)}"
        ),
        lambda facts: _by_arm(facts, "Bars of the time per step", lambda arm: arm.step_seconds),
    ),
    FigureKind(
        "memory",
        "cost",
        "Peak memory",
        lambda plots, variant, width: plots.memory(variant, width),
        lambda facts: "Each arm alone in a process of its own, n = 1. The mark is the size of the model's weights.",
        lambda facts: (
            "Bars of peak memory: "
            + ", ".join(f"{name} {numbers.size(arm.peak_bytes)}" for name, arm in facts[1].arms.items())
            + "."
        ),
    ),
    FigureKind(
        "quality",
        "quality",
        "Loss beside the text",
        lambda plots, variant, width: plots.quality(variant, width),
        _quality_caption,
        lambda facts: _by_arm(
            facts, "Held-out loss beside what the text is like; held-out loss", lambda arm: arm.held_out_after
        ),
    ),
    FigureKind(
        "forgetting",
        "forgetting",
        "Forgetting",
        lambda plots, variant, width: plots.forgetting(variant, width),
        lambda facts: (
            "Change of the loss on the retention corpus, after minus before training: right of zero, the model got "
            f"worse at it. {_replicates(facts)}. {_interval_note(facts)}"
        ),
        lambda facts: _by_arm(facts, "Change of the retention loss", lambda arm: arm.forgetting),
    ),
    FigureKind(
        "overfitting",
        "forgetting",
        "Overfitting",
        lambda plots, variant, width: plots.overfitting(variant, width),
        lambda facts: (
            "Held-out minus training loss at the end: the further right, the more the arm fits what it has read. "
            f"{_replicates(facts)}. {_interval_note(facts)}"
        ),
        lambda facts: _by_arm(facts, "Held-out minus training loss", lambda arm: arm.overfitting),
    ),
)
