"""What happened in a race of learning rates? Its trials, and the rate that each arm then trains at."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class RateTried:
    """One trial of a race of learning rates, which comes before the replicates."""

    variant: str
    arm: str
    learning_rate: float
    steps: int
    """Steps taken: fewer than the trial's own where it was stopped as diverged."""
    loss_nats: float
    """Mean loss on the windows of the race at the end; NaN where it diverged."""
    diverged: bool
    seconds: float = math.nan
    """Seconds of the trial, evaluation included."""


@dataclass(frozen=True)
class RateChosen:
    """What a race ended with; an arm of which every trial diverged has none."""

    variant: str
    arm: str
    learning_rate: float
    method: str
    """How it follows from the trials, in a phrase."""
    low: float
    """The next lower rate that was tried; the best one itself where there is none."""
    high: float
    """The next higher rate."""
    untouched_loss_nats: float = math.nan
    """Mean loss of the untouched model on the windows of the race."""
    reused_from: str = ""
    """The run that held the race, name and time, where its trials were taken from there."""
