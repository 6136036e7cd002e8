"""What does an advice folder hold? Signals, candidates with their prices, the trials of the race."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from frostline.run_folder import (
    RUN_FILE,
    AdviceEnded,
    AdviceStarted,
    CandidateMade,
    RungEnded,
    SignalMeasured,
    TrialFinished,
    VariantPrepared,
    read_lines,
    records_of,
)


@dataclass(frozen=True)
class Advice:
    """What an advice folder holds."""

    started: AdviceStarted
    facts: VariantPrepared | None
    """None where it was stopped before they were recorded."""
    signals: list[SignalMeasured]
    candidates: dict[str, CandidateMade]
    trials: list[TrialFinished]
    rungs: list[RungEnded]
    ended: AdviceEnded | None


def read_advice(folder: Path) -> Advice | None:
    """What `folder` holds; None where no advice was begun there. Raises `RunFolderError` where it is damaged."""
    lines, _ = read_lines(folder, RUN_FILE)
    started = records_of(lines, AdviceStarted)
    if not started:
        return None
    ended = records_of(lines, AdviceEnded)
    return Advice(
        started=started[0],
        facts=next(iter(records_of(lines, VariantPrepared)), None),
        signals=records_of(lines, SignalMeasured),
        candidates={made.candidate: made for made in records_of(lines, CandidateMade)},
        trials=records_of(lines, TrialFinished),
        rungs=records_of(lines, RungEnded),
        ended=ended[-1] if ended else None,
    )
