"""What does an inspection find? Signals of an untouched model; of a trained one, where training acted and who knew."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from frostline.advisor.signal_scores import SignalScore
from frostline.advisor.transplant import Transplant
from frostline.signals import Signal, as_frame
from frostline.stats import ClaimResult


@dataclass(frozen=True)
class Tuned:
    """What training has done to one arm's model."""

    arm: str
    seed: int
    """Seed of the replicate whose model was saved."""
    acts: Transplant
    scores: list[SignalScore]
    """How well each signal ranks the layers and roles that moved."""


@dataclass(frozen=True)
class Inspection:
    """Everything that the page of `frostline inspect` shows."""

    name: str
    model: str
    corpus: str
    signals: dict[str, Signal]
    tuned: Tuned | None = None
    not_tuned: str = ""
    """Why nothing is said about a trained model; empty where something is, or where there is no run."""
    claims: tuple[ClaimResult, ...] = ()
    """Claim C11, where it is a run that is looked at."""

    def frame(self) -> pl.DataFrame:
        """The signals: columns `signal`, `layer`, `role`, `head`, `value`; one row for each place."""
        return as_frame(self.signals.values())
