"""What `frostline advise` prints: the plans of the race's last rung, and what follows from it."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from frostline.advisor import (
    FULL,
    RECOMMENDED_FILE,
    RUNGS,
    Advice,
    AdviceResult,
    losses_at_equal_time,
    search_cost,
    standings,
)
from frostline.readable import percent
from frostline.report import numbers
from frostline.terminal.tables import empty_table
from frostline.text import one_line

NOTE = (
    "loss: held out, nats a token. (equal time): where the quickest plan has made all its steps, interpolated. step: "
    "expected share of full training's time. trains: share of the weights. Intervals: 95 %, over held-out windows."
)


def draw_advice(result: AdviceResult) -> RenderableType:
    """A renderable for a rich console."""
    advice, found = result.advice, result.recommendation
    assert advice is not None
    assert result.page is not None
    if found is None:
        return Text("No plan came to the end of the race: every trial failed. The folder's journal says why.")
    table = empty_table("plan", "loss\n(equal time)", "advised minus it", "rate", "step", "memory", "trains")
    full = advice.candidates[FULL]
    in_equal_time = losses_at_equal_time(advice.trials, advice.candidates)
    finalists = [standing for standing in standings(advice.trials, RUNGS - 1) if standing.held_out_losses]
    for standing in sorted(finalists, key=lambda own: own.held_out_loss):
        made = advice.candidates[standing.candidate]
        advised = standing.candidate == found.pick.candidate
        against = found.against.get(standing.candidate)
        table.add_row(
            Text(one_line(standing.candidate) + ("\nadvised" if advised else ""), style="bold" if advised else ""),
            f"{standing.held_out_loss:.3f}\n({numbers.loss(in_equal_time.get(standing.candidate))})",
            "" if against is None else f"{against.mean:+.3f}\n[{against.low:+.3f}, {against.high:+.3f}]",
            f"{standing.learning_rate:.2g}",
            percent(made.expected_seconds / full.expected_seconds, 0),
            numbers.size(made.expected_peak_bytes),
            numbers.share(made.trained_parameters / full.trained_parameters),
        )
    told = [Text(f"\n{sentence}") for sentence in (*found.sentences, *_of_the_search(advice))]
    files = [f"Page: {result.page.resolve()}", f"Recipe: {result.folder / RECOMMENDED_FILE}"]
    return Padding(
        Group(
            Text(f"\nLast rung, {found.pick.steps} steps, seed {advice.started.seed}", style="bold"),
            table,
            *told,
            Text(""),
            *(Text(line) for line in files),
            Text(NOTE, style="dim"),
        ),
        (0, 1),
    )


def advice_as_json(result: AdviceResult) -> dict[str, object]:
    """Everything that was found, for scripts."""
    advice: Advice | None = result.advice
    assert advice is not None
    return {
        "folder": str(result.folder),
        "page": str(result.page),
        "recommendation": None if result.recommendation is None else asdict(result.recommendation),
        "candidates": [asdict(made) for made in advice.candidates.values()],
        "rungs": [asdict(rung) for rung in advice.rungs],
        "loss_in_equal_time": losses_at_equal_time(advice.trials, advice.candidates),
        "signals": [{"signal": own.signal, "steadiness": own.steadiness} for own in advice.signals],
        "search": None if (cost := search_cost(advice)) is None else asdict(cost),
    }


def _of_the_search(advice: Advice) -> list[str]:
    """How steady the signals rank, and what it all took."""
    steady = [f"{own.signal} {own.steadiness:.2f}" for own in advice.signals if own.steadiness is not None]
    told = [f"How alike two halves of the windows rank (Spearman): {', '.join(steady)}."] if steady else []
    cost = search_cost(advice)
    return [*told, *([cost.sentence] if cost is not None else [])]
