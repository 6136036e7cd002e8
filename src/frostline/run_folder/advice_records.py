"""What happened while advice was sought? The records of a race; they stand in the journal's file for the run.

A race is a pure function of its recipe, its options and one machine, but for fields of the clock: one that was stopped
or killed goes on with the first trial that is not recorded.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AdviceStarted:
    frostline_version: str
    recipe_sha256: str
    at: str
    environment: dict[str, str]
    budget: str
    """The budget as written on the command line; `none` without limits."""
    steps: int
    """Steps of the last rung."""
    seed: int
    run_steps: int = 0
    """Steps of a run of the recipe; 0 in journals of 0.1.0."""


@dataclass(frozen=True)
class SignalMeasured:
    signal: str
    layers: list[int | None]
    roles: list[str]
    values: list[float]
    """Value of each place: the layer and the role that stand at the same index."""
    steadiness: float | None = None
    """Spearman's rho of its rankings by two halves of the windows; None where it reads none, or nothing can be told."""


@dataclass(frozen=True)
class CandidateMade:
    candidate: str
    plan: str
    """What trains, with every choice resolved."""
    asked: dict[str, object]
    """The arm as a recipe would ask for it: `train: ["top:25% by snr"]`."""
    settled: dict[str, object]
    """The arm without selectors that compute: what is raced."""
    origin: str
    """`full`, `usual`, `signal`, `random` or `adapter`."""
    why: str
    trained_parameters: int
    prefix_layers: int
    ceiling: float
    expected_seconds: float
    """Seconds of a step, by the fitted prices."""
    expected_seconds_cached: float
    """Seconds of a step with the prefix stored."""
    expected_peak_bytes: int
    optimizer_bytes: int
    exceeds: list[str]
    """Limits of the budget that it does not keep; then it is not raced, full training aside."""
    layers: int = 0
    """Decoder layers in which something trains; 0 in journals of 0.1.0."""
    like: str = ""
    """Of a random choice: the candidate of which it has as many values of each role; '' where it is drawn freely."""


@dataclass(frozen=True)
class TrialFinished:
    rung: int
    candidate: str
    learning_rate: float
    steps: int
    window_losses: list[float]
    """Losses, in nats per token, on the windows that decide (training windows that no trial of a rung trains on);
    empty where the trial failed, and after the last rung, where nothing is decided any more."""
    held_out_losses: list[float]
    """Loss on each held-out window, by which the choice is judged; from the last rung on."""
    step_losses: list[float]
    """Training loss of each step."""
    cause: str
    """Why it failed; empty where it did not."""
    seconds: float
    """Median seconds of a step."""
    seconds_in_all: float
    """Seconds of the whole trial, with making the arm and evaluating it."""
    seed: int | None = None
    """Seed of the windows' order; None in journals of 0.1.0, where it is the advice's own."""


@dataclass(frozen=True)
class RungEnded:
    rung: int
    steps: int
    kept: list[str]
    """Candidates that go on, best first."""
    dropped: dict[str, str]
    """Candidates that do not, and why."""


@dataclass(frozen=True)
class AdviceEnded:
    status: str
    """`finished` or `interrupted`."""
    at: str
    seconds: float
