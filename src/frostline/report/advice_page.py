"""What does an advice say to a reader? The plan, how sure it is, what else there was, what is inside the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from frostline.advisor import (
    FULL,
    RUNGS,
    Advice,
    Recommendation,
    how_much_how_spread,
    losses_at_equal_time,
    read_advice,
    recommend,
    search_cost,
    standings,
)
from frostline.errors import RunFolderError
from frostline.readable import percent
from frostline.report import numbers
from frostline.report.cards import Fact
from frostline.report.figures.inside import front_chart
from frostline.report.inside import STYLE, signal_sections
from frostline.report.sections import PlainFigure, PlainPage, PlainSection
from frostline.report.style import WIDE
from frostline.report.table import Table
from frostline.report.write import write_page
from frostline.signals import KINDS

ADVICE_FILE = "advice.html"
LONGEST_PLAN = 90
"""Characters of a plan in a table."""


def write_advice(folder: Path, name: str, model: str, corpus: str) -> Path:
    """Write `advice.html` into the advice's folder and return its path. Raises `RunFolderError`."""
    advice = read_advice(folder)
    if advice is None:
        raise RunFolderError(f"{folder}: it holds no advice.", "Give the folder that 'frostline advise' made.")
    return write_page(folder / ADVICE_FILE, advice_page(advice, name, model, corpus))


def advice_page(advice: Advice, name: str, model: str, corpus: str) -> PlainPage:
    """The page of an advice whose race has ended."""
    found = recommend(advice.trials, advice.candidates)
    sentences = ("Every trial failed: nothing can be advised.",) if found is None else tuple(found.sentences)
    sections = [PlainSection("The advice", sentences)]
    if found is not None:
        compared = PlainSection(
            "What it was compared with",
            figures=_fronts(advice, found),
            tables=(*_again(found), _finalists(advice, found)),
        )
        sections.append(compared)
    cost = search_cost(advice)
    told = (*how_much_how_spread(advice), *([cost.sentence] if cost else []))
    sections.append(PlainSection("The race", told, tables=(_candidates(advice),)))
    sections += signal_sections(signals_frame(advice))
    sections += _steadiness(advice)
    facts = [
        Fact("model", model),
        Fact("corpus", corpus),
        Fact("budget", advice.started.budget),
        Fact("race", f"{len(advice.trials)} trials", f"up to {advice.started.steps} steps, seed {advice.started.seed}"),
    ]
    return PlainPage(
        "Frostline · an advice",
        name,
        "Which weights should be trained, and which can be left frozen?",
        facts,
        sections,
        ["frostline run recommended.yaml"] if found is not None else [],
    )


def signals_frame(advice: Advice) -> pl.DataFrame:
    """The signals of an advice: columns signal, layer, role, value."""
    rows = [
        (own.signal, layer, role, value)
        for own in advice.signals
        if own.signal in KINDS
        for layer, role, value in zip(own.layers, own.roles, own.values, strict=True)
    ]
    schema = {"signal": pl.String, "layer": pl.Int64, "role": pl.String, "value": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _fronts(advice: Advice, found: Recommendation) -> tuple[PlainFigure, ...]:
    full = advice.candidates[FULL]
    time = {name: made.expected_seconds / full.expected_seconds for name, made in advice.candidates.items()}
    memory = {name: made.expected_peak_bytes / full.expected_peak_bytes for name, made in advice.candidates.items()}
    return (
        _front(advice, found, "time", "time of a step", time, found.front),
        _front(advice, found, "memory", "peak memory", memory, found.memory_front),
    )


def _front(
    advice: Advice, found: Recommendation, name: str, what: str, costs: Mapping[str, float], front: Sequence[str]
) -> PlainFigure:
    rows = []
    for standing in standings(advice.trials, RUNGS - 1):
        if not standing.held_out_losses:
            continue
        made = advice.candidates[standing.candidate]
        against = found.against.get(standing.candidate)
        kind = "advised" if against is None else "random" if made.origin == "random" else "other"
        # The paired interval of the difference, laid around the plan's own loss.
        low = None if against is None else found.pick.held_out_loss - against.high
        high = None if against is None else found.pick.held_out_loss - against.low
        on_front = standing.candidate in front
        rows.append((standing.candidate, costs[standing.candidate], standing.held_out_loss, low, high, kind, on_front))
    columns = ["plan", "cost", "loss", "low", "high", "kind", "front"]
    frame = pl.DataFrame(rows, schema=columns, orient="row", infer_schema_length=None)
    return PlainFigure(
        f"front-{name}",
        f"Loss against {name}",
        "Each plan of the last rung at its best learning rate. The line joins those that no other beats in both. Bars "
        "are 95 % intervals of the difference to the advised plan, over held-out windows.",
        f"Scatter of held-out loss over the expected {what}.",
        front_chart(
            frame.with_columns(pl.col("low", "high").cast(pl.Float64)),
            f"expected {what}, as a share of full training's",
            STYLE,
            WIDE,
        ),
    )


def _again(found: Recommendation) -> tuple[Table, ...]:
    again = found.retrained
    if again is None:
        return ()
    rows = []
    for name, losses in again.losses.items():
        against = again.against.get(name)
        rows.append(
            (
                name + (" (advised)" if against is None else ""),
                *(f"{loss:.3f}" for loss in losses),
                f"{again.loss(name):.3f}",
                "" if against is None else f"{-against.mean:+.3f} [{-against.high:+.3f}, {-against.low:+.3f}]",
            )
        )
    header = ("trained again", *(f"seed {seed}" for seed in again.seeds), "mean", "minus the advised one")
    caption = (
        "Held-out loss with seeds that chose nothing, in nats a token. Intervals: 95 %, over these seeds and the "
        "held-out windows."
    )
    return (Table(header, tuple(rows), caption),)


def _steadiness(advice: Advice) -> list[PlainSection]:
    """How far half of the windows would have ranked alike; nothing where no signal says so."""
    rows = [
        (KINDS[own.signal].title, numbers.number(own.steadiness))
        for own in advice.signals
        if own.signal in KINDS and own.steadiness is not None
    ]
    caption = "Rank correlation (Spearman) of what one half of the windows says with what the other says; 1 is alike."
    table = Table(("signal", "between two halves of the windows"), tuple(rows), caption)
    return [PlainSection("How steady the rankings are", tables=(table,))] if rows else []


def _finalists(advice: Advice, found: Recommendation) -> Table:
    full = advice.candidates[FULL]
    in_equal_time = losses_at_equal_time(advice.trials, advice.candidates)
    rows = []
    for standing in sorted(standings(advice.trials, RUNGS - 1), key=lambda own: own.loss):
        if not standing.held_out_losses:
            continue
        made, against = advice.candidates[standing.candidate], found.against.get(standing.candidate)
        rows.append(
            (
                standing.candidate + (" (advised)" if against is None else ""),
                f"{standing.held_out_loss:.3f}",
                "" if against is None else f"{-against.mean:+.3f} [{-against.high:+.3f}, {-against.low:+.3f}]",
                numbers.loss(in_equal_time.get(standing.candidate)),
                f"{standing.learning_rate:.2g}",
                percent(made.expected_seconds / full.expected_seconds, 0),
                numbers.size(made.expected_peak_bytes),
                numbers.count(made.layers) if made.layers else numbers.MISSING,
                numbers.share(made.trained_parameters / full.trained_parameters),
            )
        )
    measured = ("last rung", "loss", "minus the advised one", "in equal time")
    header = (*measured, "rate", "step", "memory", "layers", "trains")
    caption = (
        "Loss: held out, in nats a token, after equal steps at the best learning rate found. In equal time: in that "
        "which the quickest plan takes for all its steps, interpolated between the rungs. Step: expected, as a share "
        "of full training's. Memory: expected peak. Layers: in how many something trains. Trains: share of the weights."
    )
    return Table(header, tuple(rows), caption)


def _candidates(advice: Advice) -> Table:
    reasons: dict[str, str] = {}
    for rung in advice.rungs:
        reasons |= {
            name: f"left behind after {numbers.count(rung.steps)} step{'s' if rung.steps > 1 else ''}: {why}"
            for name, why in rung.dropped.items()
        }
    rows = []
    for made in advice.candidates.values():
        fate = reasons.get(made.candidate, "came to the last rung")
        if made.exceeds and made.candidate != FULL:
            fate = f"not raced: {', '.join(made.exceeds)}"
        measured = [trial.seconds for trial in advice.trials if trial.candidate == made.candidate and trial.seconds > 0]
        plan = made.plan if len(made.plan) <= LONGEST_PLAN else f"{made.plan[:LONGEST_PLAN]} ..."
        rows.append(
            (
                made.candidate,
                numbers.seconds(made.expected_seconds),
                numbers.seconds(min(measured)) if measured else numbers.MISSING,
                fate,
                plan,
            )
        )
    return Table(
        ("plan", "step: expected", "measured", "what became of it", "what it trains"),
        tuple(rows),
        "Measured: the least median of a step over its trials; stored prefixes make it shorter than expected.",
    )
