"""Where does an arm begin? At the untouched model, or at the newest checkpoint that an earlier process left of it.

And where does it end before its time? When it fails: it is marked so, with its cause, and the other arms go on.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from frostline.arms import PlannedArm, base_digests, make_arm, model_for_arm
from frostline.engine import Arm, cause_of, give_back_device_memory, give_back_freed_memory, restore, state_of
from frostline.errors import FrostlineError, ModelChangedError, RunFolderError, TogetherError
from frostline.experiment.checkpoints import ArmCheckpoints, Checkpoint, checkpoint_name
from frostline.experiment.held_together import require_shared_folder, restore_shards, save_shards, whole_layer
from frostline.experiment.measuring import reads_an_epoch, record_by_frequency, record_evaluations
from frostline.experiment.replicate import Replicate, how_complete
from frostline.measures import WeightWatch
from frostline.run_folder import (
    FAILURE_FOLDER,
    ArmFailed,
    ArmJournal,
    ArmStarted,
    JournalPosition,
    WatchedMatrices,
    record_of,
)
from frostline.storage import replace_file
from frostline.text import without_home


@dataclass
class ArmInTraining:
    """An arm with what watches it, where its records and checkpoints go, and how far it has come."""

    arm: Arm
    watch: WeightWatch
    journal: ArmJournal
    checkpoints: ArmCheckpoints
    steps: int
    """Steps taken so far."""
    evaluated: bool
    """Whether the evaluation that is due after these steps is in the journal."""
    position: JournalPosition
    """The end of what the journal holds about these steps."""
    steps_in_all: int
    """Steps that it is to take."""
    step_seconds: list[float] = field(default_factory=list)
    """Of the timed steps of this process."""
    began_at: int = 0
    """Step at which this process began with it."""
    failed: bool = False
    finished: bool = False
    saved: tuple[int, bool] = (0, False)
    """Steps, and whether evaluated, that the newest checkpoint holds."""

    @property
    def name(self) -> str:
        """Name of the arm."""
        return self.journal.place.arm

    def fail(self) -> None:
        """Mark it as failed, and let go of the arm: the others of its group need its memory more."""
        self.failed = True
        del self.arm, self.watch

    def save(self) -> bool:
        """Save a checkpoint, unless the newest one holds as much. Raises `RunFolderError`."""
        state = (self.steps, self.evaluated)
        if self.finished or self.steps == 0 or state == self.saved:
            return False
        self.journal.flush()
        shards, held = None, state_of(self.arm, self.steps)
        if self.arm.shards is not None:
            shards = save_shards(
                self.arm, self.steps, self.checkpoints.folder, checkpoint_name(self.steps, self.evaluated)
            )
            held = replace(held, tensors={})
        self.checkpoints.save(Checkpoint(held, self.evaluated, self.position, shards))
        self.saved = state
        return True


def begin_arm(replicate: Replicate, planned: PlannedArm) -> ArmInTraining:
    """The arm on a copy of the untouched model, ready for its next step.

    The copy is hashed, so that pairing is proved and not assumed.
    """
    prepared, say = replicate.prepared, replicate.progress.say
    journal, checkpoints = replicate.journal_of(planned.name), replicate.checkpoints_of(planned.name)
    checkpoint = checkpoints.newest(journal.rewind, say)
    if checkpoint is None:
        replicate.begin_anew(planned.name)
    model = model_for_arm(prepared, planned)
    digests = base_digests(prepared, model)
    arm = make_arm(prepared, planned, replicate.seed, model=model, hashed=digests.by_name, say=say)
    measures = prepared.recipe.measures
    if prepared.is_sharded:
        require_shared_folder(prepared.world, replicate.journal.run_folder)
    watch = WeightWatch(
        arm.applied,
        measures.watch,
        every=measures.weight_change_every,
        base=prepared.model,
        whole=partial(whole_layer, arm),
    )
    if checkpoint is not None:
        if checkpoint.shards is None:
            restore(arm, checkpoint.state)
        else:
            accepted = replicate.conditions_changed
            restore_shards(arm, checkpoints.folder, checkpoint.name, accept_changes=accepted)
        steps = checkpoint.state.steps
        watch.resume_after(steps - 1)
        say(f"Arm {planned.name}, {replicate.title}: going on after step {steps}")
        saved = (steps, checkpoint.evaluated)
        return ArmInTraining(
            arm, watch, journal, checkpoints, *saved, checkpoint.position, planned.steps, began_at=steps, saved=saved
        )  # fmt: skip
    journal.append(
        record_of(
            ArmStarted,
            journal.place,
            planned,
            planned.cost,
            arm.applied,
            planned.resolved,
            plan=planned.plan.text,
            initial_sha256=digests.sha256,
        )
    )
    journal.append(record_of(WatchedMatrices, journal.place, watch))
    untouched = replicate.untouched_losses.of(arm)
    record_evaluations(journal, 0, untouched, trained=reads_an_epoch(prepared, planned.name))
    record_by_frequency(journal, 0, untouched)
    return ArmInTraining(arm, watch, journal, checkpoints, 0, False, journal.position, planned.steps)


@contextmanager
def on_its_own(replicate: Replicate, name: str, arm: ArmInTraining | None = None) -> Iterator[None]:
    """Whatever goes wrong in the block is the arm's alone: it is marked and recorded as failed, and the others go on.

    `arm` is None while it is made. Trouble with the disk, with the model's files or with other processes is everyone's:
    such errors pass.
    """
    try:
        yield
    except (RunFolderError, ModelChangedError, TogetherError):
        raise
    except Exception as error:  # noqa: BLE001  # an arm of the user's experiment, not the experiment, has failed
        if arm is not None:
            arm.fail()
        _give_back(error, replicate.prepared.device)  # first of all: to tell of it takes memory, too
        replicate.time_left.forget(replicate.journal_of(name).place)
        _record_failure(replicate, name, 0 if arm is None else arm.steps, error)


def _give_back(error: BaseException, device: torch.device) -> None:
    """Let go of what the functions held that `error` has left: the arm, and all that a failed pass had made."""
    left: BaseException | None = error
    while left is not None:
        traceback.clear_frames(left.__traceback__)
        left = left.__context__
    gc.collect()  # models of some families hold themselves in a circle
    give_back_freed_memory()
    give_back_device_memory(device)


def fail_before_training(replicate: Replicate, name: str, cause: str) -> None:
    """Mark the arm as failed before its first step, unless an earlier process has."""
    journal = replicate.journal_of(name)
    replicate.time_left.forget(journal.place)
    if how_complete(replicate, name) == "begun" or replicate.retry_failed:
        replicate.begin_anew(name)
        journal.append(ArmFailed(*journal.place, 0, cause))


def fail_where_killed(replicate: Replicate, name: str, cause: str) -> None:
    """Mark the arm as failed where it stood: an earlier process was killed there, and so would this one be."""
    journal, checkpoints = replicate.journal_of(name), replicate.checkpoints_of(name)
    checkpoint = checkpoints.newest(journal.rewind, replicate.progress.say)
    if checkpoint is None:
        replicate.begin_anew(name)
    steps = 0 if checkpoint is None else checkpoint.state.steps
    journal.append(ArmFailed(*journal.place, steps, cause, steps))
    replicate.progress.say(f"Arm {name} failed, the others go on: {cause}")


def _record_failure(replicate: Replicate, name: str, steps: int, error: Exception) -> None:
    """Why the arm cannot go on, and where a retry would begin."""
    cause, journal = cause_of(error), replicate.journal_of(name)
    journal.append(ArmFailed(*journal.place, steps, cause, replicate.checkpoints_of(name).newest_steps()))
    replicate.progress.say(f"Arm {name} failed after {steps} steps, the others go on: {cause}")
    if not isinstance(error, FrostlineError):
        folder = replicate.journal.run_folder / FAILURE_FOLDER
        folder.mkdir(exist_ok=True)
        report = folder / journal.path.with_suffix(".txt").name
        replace_file(report, without_home("".join(traceback.format_exception(error))).encode(errors="backslashreplace"))
        replicate.progress.say(f"In full: {report}")
