"""What did one arm of one replicate do? Its part of the journal as arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from frostline.run_folder import (
    ArmFailed,
    ArmFinished,
    ArmStarted,
    Continuation,
    FrozenChecked,
    LossByFrequency,
    PlanChanged,
    StepTaken,
    TrueContinuation,
    WatchedMatrices,
)

Floats = NDArray[np.float64]
Found = TypeVar("Found")


@dataclass(frozen=True)
class ArmRun:
    """One arm of one replicate. Arrays over steps begin with step 0."""

    seed: int
    started: ArmStarted
    steps: tuple[StepTaken, ...]
    losses: Floats
    """[steps], nats; NaN where the loss was not finite."""
    seconds: Floats
    timed: NDArray[np.bool_]
    """Steps whose time counts."""
    held_out: dict[int, float]
    """Held-out loss by number of steps done."""
    retention: dict[int, float]
    trained: dict[int, float]
    """Loss on the fixed sample of training windows; empty where none was read an epoch long."""
    held_out_windows: dict[int, Floats]
    """[windows] held-out loss of each window by number of steps done; empty in journals of 0.1.0."""
    window_predictions: Floats
    """[windows] tokens that the held-out loss counts in each."""
    by_frequency: dict[int, LossByFrequency]
    """Held-out loss of common and rare tokens by number of steps done; empty in journals that lack it."""
    watched: WatchedMatrices | None
    change_steps: NDArray[np.int64]
    """Steps at which the weight change was measured, [measured]."""
    changes: Floats
    """Frobenius norm of W_t - W_(t-1), [measured, matrices]."""
    final: dict[str, Floats]
    """norm, drift, relative_drift, stable_rank: [matrices] each; empty where not measured."""
    text: tuple[Continuation, ...]
    """Continuations after training, by prompt."""
    text_before: tuple[Continuation, ...]
    """Continuations of the untouched model to the same prompts."""
    true_text: tuple[TrueContinuation, ...]
    """How the held-out text itself goes on after these prompts; empty in journals of 0.1.0."""
    plan_changes: tuple[PlanChanged, ...]
    frozen: FrozenChecked | None
    finished: ArmFinished | None
    failed: ArmFailed | None
    fill_seconds: float = 0.0
    """Its replicate's share of filling the rows that it starts from, which all replicates read; 0 where none were."""
    unit: str = ""
    """The unit of a cluster that trained it: times compare within a unit alone; '' where one process did all."""
    machine: str = ""
    """The kind of machine that did so."""

    @property
    def name(self) -> str:
        """Name of the arm."""
        return self.started.arm

    @property
    def trained_by(self) -> str:
        """The earlier run that its records were taken from; '' where it was this one."""
        return self.started.reused_from

    @property
    def processes(self) -> tuple[int, ...]:
        """How many processes computed its steps together; several numbers where it went on with another one."""
        return tuple(sorted({step.processes for step in self.steps}))

    @property
    def trained_share(self) -> float:
        """Share of the parameters that train, averaged over the steps of a plan that changes."""
        trained = np.full(max(1, len(self.losses)), self.started.trained_parameters, dtype=np.float64)
        for change in self.plan_changes:
            trained[change.step :] = change.trained_parameters
        return float(trained.mean()) / max(1, self.started.parameters)

    def until(self, steps: int) -> ArmRun:
        """The run as it stood after so many steps: without what was found out at its end, where that came later."""
        if steps >= len(self.losses):
            return self
        measured = self.change_steps < steps
        return replace(
            self,
            steps=self.steps[:steps],
            losses=self.losses[:steps],
            seconds=self.seconds[:steps],
            timed=self.timed[:steps],
            held_out=_until(self.held_out, steps),
            retention=_until(self.retention, steps),
            trained=_until(self.trained, steps),
            held_out_windows=_until(self.held_out_windows, steps),
            by_frequency=_until(self.by_frequency, steps),
            change_steps=self.change_steps[measured],
            changes=self.changes[measured],
            final={},
            text=(),
            plan_changes=tuple(change for change in self.plan_changes if change.step < steps),
            finished=None,
        )


def _until(by_step: dict[int, Found], steps: int) -> dict[int, Found]:
    return {step: found for step, found in by_step.items() if step <= steps}
