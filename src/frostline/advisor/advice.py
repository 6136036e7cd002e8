"""What has an advice found so far? Signals, candidates with their prices, the trials of the race."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

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
    """None where it was stopped before they were recorded."""
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
