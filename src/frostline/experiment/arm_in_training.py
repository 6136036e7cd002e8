"""Where does an arm begin? At the untouched model, or at the newest checkpoint that an earlier process left of it.

And where does it end before its time? When it fails: it is marked so, with its cause, and the other arms go on.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from frostline.arms import Prepared, make_arm, model_for_arm
from frostline.engine import Arm, cause_of, restore, state_of
from frostline.errors import FrostlineError, RunFolderError
from frostline.experiment.arm_store import ArmStore
from frostline.experiment.checkpoints import ArmCheckpoints, Checkpoint, Pace, arm_checkpoints
from frostline.experiment.measuring import UNTOUCHED, record_evaluations
from frostline.measures import LossMeasure, WeightWatch, weights_sha256
from frostline.progress import RunProgress
from frostline.run_folder import (
    BEGINNING,
    FAILURE_FOLDER,
    ArmFailed,
    ArmFinished,
    ArmStarted,
    Continuation,
    JournalPosition,
    Recorder,
    WatchedMatrices,
)
from frostline.storage import replace_file


@dataclass
class Saving:
    """What saving has cost this process."""

    checkpoints: int = 0
    seconds: float = 0.0

    def add(self, pace: Pace) -> None:
        """Count in what was saved at this pace."""
        self.checkpoints += pace.saves
        self.seconds += pace.seconds


@dataclass(frozen=True)
class Replicate:
    """One seed of one variant, and where its results go."""

    prepared: Prepared
    seed: int
    recorder: Recorder
    progress: RunProgress
    run_folder: Path
    untouched_losses: Callable[[], dict[str, LossMeasure]]
    """Of the untouched model, by corpus; measured when first asked for."""
    store: ArmStore | None = None
    """Arms that were trained before; None trains all anew."""
    retry_failed: bool = False
    """Whether arms that failed in an earlier process are tried again."""
    saving: Saving = field(default_factory=Saving)

    @property
    def title(self) -> str:
        return f"{self.prepared.variant}, seed {self.seed}" if self.prepared.variant else f"seed {self.seed}"

    def journal_file(self, name: str) -> str:
        """Name of the journal's file about the arm `name`."""
        return self.recorder.journal.arm_file(self.prepared.variant, self.seed, name)

    def checkpoints(self, name: str) -> ArmCheckpoints:
        """Those of the arm `name`."""
        return arm_checkpoints(self.run_folder, self.prepared.recipe.checkpoints, self.journal_file(name))

    def position(self, name: str) -> JournalPosition:
        """The end of what the journal holds about the arm `name`."""
        return self.recorder.journal.position(self.prepared.variant, self.seed, name)

    def begin_anew(self, name: str) -> None:
        """Forget what an earlier process wrote about the arm `name`."""
        self.recorder.rewind(self.prepared.variant, self.seed, name, BEGINNING)
        self.checkpoints(name).remove()


@dataclass
class ArmInTraining:
    """An arm with what watches it, and how far it has come."""

    name: str
    arm: Arm
    watch: WeightWatch
    steps: int
    """Taken so far."""
    evaluated: bool
    """Whether the evaluation that is due after these steps is in the journal."""
    position: JournalPosition
    """The end of what the journal holds about these steps."""
    began_at: int = 0
    """Step at which this process began with it."""
    failed: bool = False
    finished: bool = False
    _saved: tuple[int, bool] = (0, False)

    def save(self, replicate: Replicate) -> bool:
        """Save a checkpoint, unless the newest one holds as much. Raises `RunFolderError`."""
        state = (self.steps, self.evaluated)
        if self.finished or self.steps == 0 or state == self._saved:
            return False
        replicate.recorder.flush(replicate.prepared.variant, replicate.seed, self.name)
        replicate.checkpoints(self.name).save(Checkpoint(state_of(self.arm, self.steps), self.evaluated, self.position))
        self._saved = state
        return True


def how_complete(replicate: Replicate, name: str) -> Literal["finished", "failed", "begun"]:
    """What the journal holds about the arm `name`: all that there will be, or not; nothing counts as begun."""
    lines = replicate.recorder.journal.records_of(replicate.prepared.variant, replicate.seed, name)
    if name == UNTOUCHED:
        prompts = replicate.prepared.recipe.measures.sampling.prompts
        return "finished" if sum(line["kind"] == Continuation.__name__ for line in lines) == prompts else "begun"
    last = lines[-1]["kind"] if lines else ""
    return "finished" if last == ArmFinished.__name__ else "failed" if last == ArmFailed.__name__ else "begun"


def begin_arm(replicate: Replicate, name: str) -> ArmInTraining | None:
    """The arm `name` ready for its next step; None where it fails."""
    try:
        return _begin_arm(replicate, name)
    except RunFolderError:
        raise  # trouble with the disk is everyone's
    except Exception as error:  # noqa: BLE001  # whatever it is, it is this arm's
        _record_failure(replicate, name, 0, error)
        return None


def attempt(replicate: Replicate, trained: ArmInTraining, work: Callable[[], None]) -> None:
    """Do `work` on an arm, unless it has failed; an error is that arm's, and the others go on."""
    if trained.failed:
        return
    try:
        work()
    except RunFolderError:
        raise  # trouble with the disk is everyone's
    except Exception as error:  # noqa: BLE001  # whatever it is, it is this arm's
        mark_failed(replicate, trained, error)


def mark_failed(replicate: Replicate, trained: ArmInTraining, error: Exception) -> None:
    """The arm cannot go on: record why, and where a retry would begin."""
    trained.failed = True
    _record_failure(replicate, trained.name, trained.steps, error)


def _record_failure(replicate: Replicate, name: str, step: int, error: Exception) -> None:
    cause = cause_of(error)
    saved = replicate.checkpoints(name).newest_steps()
    replicate.recorder.append(ArmFailed(replicate.prepared.variant, replicate.seed, name, step, cause, saved))
    replicate.progress.say(f"Arm {name} failed after {step} steps, the others go on: {cause}")
    if not isinstance(error, FrostlineError):
        folder = replicate.run_folder / FAILURE_FOLDER
        folder.mkdir(exist_ok=True)
        report = folder / replicate.journal_file(name).replace(".jsonl", ".txt")
        replace_file(report, "".join(traceback.format_exception(error)).encode())
        replicate.progress.say(f"In full: {report}")


def _begin_arm(replicate: Replicate, name: str) -> ArmInTraining:
    """An arm on a copy of the untouched model; the copy is hashed, so that pairing is proved and not assumed."""
    prepared, seed, recorder = replicate.prepared, replicate.seed, replicate.recorder
    recipe, variant = prepared.recipe, prepared.variant
    checkpoint = replicate.checkpoints(name).newest(
        lambda position: recorder.rewind(variant, seed, name, position), replicate.progress.say
    )
    if checkpoint is None:
        replicate.begin_anew(name)
    model = model_for_arm(prepared, prepared.arms[name])
    initial_sha256 = weights_sha256(model.named_parameters())
    arm = make_arm(prepared, prepared.arms[name], seed, model=model, say=replicate.progress.say)
    watch = WeightWatch(
        arm.applied, recipe.measures.watch, every=recipe.measures.weight_change_every, base=prepared.model
    )
    if checkpoint is not None:
        restore(arm, checkpoint.state)
        steps = checkpoint.state.steps
        watch.resume_after(steps - 1)
        replicate.progress.say(f"Arm {name}, {replicate.title}: going on after step {steps}")
        saved = (steps, checkpoint.evaluated)
        return ArmInTraining(name, arm, watch, *saved, checkpoint.position, began_at=steps, _saved=saved)
    cost = prepared.arms[name].cost
    recorder.append(
        ArmStarted(
            variant=variant,
            seed=seed,
            arm=name,
            plan=prepared.arms[name].plan.text,
            learning_rate=arm.learning_rate,
            weight_decay=recipe.weight_decay_of(name),
            parameters=arm.applied.parameters,
            trained_parameters=arm.applied.trained_parameters,
            prefix_layers=prepared.arms[name].resolved.prefix_layers,
            step_flops=cost.step_flops,
            ceiling=cost.ceiling,
            ceiling_cached=cost.ceiling_cached,
            initial_sha256=initial_sha256,
        )
    )
    recorder.append(WatchedMatrices(variant, seed, name, watch.names, watch.layers, watch.roles, watch.trained))
    record_evaluations(prepared, seed, name, 0, replicate.untouched_losses(), recorder)
    return ArmInTraining(name, arm, watch, 0, False, replicate.position(name))
