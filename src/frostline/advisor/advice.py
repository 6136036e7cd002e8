"""What has an advice found so far? Signals, candidates with their prices, the trials of the race."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean

import polars as pl

from frostline.run_folder import (
    RUN_FILE,
    AdviceEnded,
    AdviceStarted,
    CandidateMade,
    Record,
    RungEnded,
    SignalMeasured,
    TrialFinished,
    VariantPrepared,
    read_lines,
    records_of,
)


@dataclass
class Advice:
    """What an advice has found so far; its journal holds the same."""

    started: AdviceStarted
    facts: VariantPrepared | None = None
    """Facts of the model and the corpus; None where it was stopped before they were recorded."""
    signals: list[SignalMeasured] = field(default_factory=list)
    candidates: dict[str, CandidateMade] = field(default_factory=dict)
    """Candidates by name, in the order in which they were made."""
    trials: list[TrialFinished] = field(default_factory=list)
    rungs: list[RungEnded] = field(default_factory=list)
    ended: AdviceEnded | None = None

    def add(self, record: Record) -> None:
        """Take in what was found; `record` is one that an advice's journal holds."""
        match record:
            case VariantPrepared():
                self.facts = record
            case SignalMeasured():
                self.signals.append(record)
            case CandidateMade():
                self.candidates[record.candidate] = record
            case TrialFinished():
                self.trials.append(record)
            case RungEnded():
                self.rungs.append(record)
            case AdviceEnded():
                self.ended = record


def read_advice(folder: Path) -> Advice | None:
    """What `folder` holds; None where no advice was begun there. Raises `RunFolderError` where it is damaged."""
    lines, _ = read_lines(folder, RUN_FILE)
    started = records_of(lines, AdviceStarted)
    if not started:
        return None
    advice = Advice(started[0])
    for kind in (VariantPrepared, SignalMeasured, CandidateMade, TrialFinished, RungEnded, AdviceEnded):
        for record in records_of(lines, kind):
            advice.add(record)
    return advice


def candidates_frame(advice: Advice | None) -> pl.DataFrame:
    """The plans that were priced; see `AdviceResult.candidates`."""
    rows = [] if advice is None else [asdict(made) for made in advice.candidates.values()]
    return pl.DataFrame([{key: row[key] for key in _CANDIDATES} for row in rows], schema=_CANDIDATES)


def trials_frame(advice: Advice | None) -> pl.DataFrame:
    """The trials of the race; see `AdviceResult.trials`."""
    if advice is None:
        return pl.DataFrame(schema=_TRIALS)
    rows = [
        {
            "rung": trial.rung,
            "candidate": trial.candidate,
            "learning_rate": trial.learning_rate,
            "steps": trial.steps,
            "loss_nats": _mean(trial.window_losses),
            "held_out_loss_nats": _mean(trial.held_out_losses),
            "cause": trial.cause,
            "seconds": trial.seconds,
            "seed": advice.started.seed if trial.seed is None else trial.seed,
        }
        for trial in advice.trials
    ]
    return pl.DataFrame(rows, schema=_TRIALS)


def _mean(losses: list[float]) -> float | None:
    return mean(losses) if losses else None


_CANDIDATES: dict[str, pl.DataType] = {
    "candidate": pl.String(),
    "plan": pl.String(),
    "origin": pl.String(),
    "trained_parameters": pl.Int64(),
    "prefix_layers": pl.Int64(),
    "ceiling": pl.Float64(),
    "expected_seconds": pl.Float64(),
    "expected_seconds_cached": pl.Float64(),
    "expected_peak_bytes": pl.Int64(),
    "exceeds": pl.List(pl.String()),
}
_TRIALS: dict[str, pl.DataType] = {
    "rung": pl.Int64(),
    "candidate": pl.String(),
    "learning_rate": pl.Float64(),
    "steps": pl.Int64(),
    "loss_nats": pl.Float64(),
    "held_out_loss_nats": pl.Float64(),
    "cause": pl.String(),
    "seconds": pl.Float64(),
    "seed": pl.Int64(),
}
