"""How does one replicate run? All arms on the same batches; what happens is measured between the steps and journalled.

In lock step all arms take step k before any takes step k + 1, and the order turns round every step (A B, B A, ...) so
that a drift of the machine's speed hits all alike. One arm after another is the same loop with one arm. A step is
`engine/arm.py`; here is what surrounds it, never inside its timer.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence

from frostline.arms import (
    PlannedArm,
    bring_rows,
    checkpoint_bytes,
    forget_other_windows,
    lean,
    speed_of,
)
from frostline.engine import StepOutcome, give_back_device_memory, turn_order
from frostline.experiment.arm_in_training import ArmInTraining, begin_arm, on_its_own
from frostline.experiment.checkpoints import TRAINING_FOLDER, Pace, expected_save_seconds
from frostline.experiment.held_together import verified, weights_at_the_end, whole_for_text
from frostline.experiment.measuring import (
    UNTOUCHED,
    evaluate_arm,
    reads_an_epoch,
    record_by_frequency,
    record_continuations,
    record_evaluations,
)
from frostline.experiment.replicate import Replicate, how_complete, keep_in_store, take_from_store
from frostline.experiment.saved_model import keep_weights, save_model
from frostline.experiment.time_left import Work
from frostline.interruption import Stopped
from frostline.run_folder import (
    CHECKPOINT_FOLDER,
    ArmFinished,
    FinalWeights,
    FrozenChecked,
    PlanChanged,
    StepTaken,
    WeightChange,
    record_of,
)


def run_replicate(replicate: Replicate) -> None:
    """Train every arm with the replicate's seed, and journal all that the recipe asks for.

    Arms that have finished, or failed, are left alone. Raises `Stopped` when a signal asks for it, with everything
    saved; `RunFolderError` when the disk takes no more.
    """
    prepared = replicate.prepared
    known_text = how_complete(replicate, UNTOUCHED) == "finished" or take_from_store(replicate, UNTOUCHED)
    arms = []
    for name, planned in prepared.arms_of(replicate.seed).items():
        if _is_to_be_trained(replicate, name):
            arms.append(planned)
        else:
            replicate.time_left.forget(replicate.journal_of(name).place)
    if not arms and known_text:
        return
    replicate.progress.say(f"Before training, {replicate.title}")
    if not known_text:
        replicate.begin_anew(UNTOUCHED)
        journal = replicate.journal_of(UNTOUCHED)
        with replicate.time_left.doing(journal.place, Work("text")):
            record_continuations(prepared, prepared.model, journal)
        keep_in_store(replicate, UNTOUCHED)
    if arms:
        replicate.fill()
    for group in [arms] if prepared.schedule == "lock-step" else [[planned] for planned in arms]:
        _train_together(replicate, group)
        if prepared.is_sharded:
            gc.collect()  # sharded models hold themselves in a circle
        give_back_device_memory(prepared.device)


def _is_to_be_trained(replicate: Replicate, name: str) -> bool:
    """Whether training the arm is left to do; what it needs not, or not any more, is put in order."""
    complete, checkpoints = how_complete(replicate, name), replicate.checkpoints_of(name)
    if complete == "finished":
        checkpoints.remove()  # killed between its last line and this
        return False
    if complete == "failed" and not replicate.retry_failed:
        return False
    return checkpoints.newest_steps() > 0 or not take_from_store(replicate, name)


def _train_together(replicate: Replicate, planned_arms: Sequence[PlannedArm]) -> None:
    """Train arms in lock step from beginning, or from where they were, to end."""
    prepared, progress = replicate.prepared, replicate.progress
    time_left, arms = replicate.time_left, []
    for planned in planned_arms:
        place = replicate.journal_of(planned.name).place
        with on_its_own(replicate, planned.name), time_left.doing(place, time_left.beginning(place)):
            arms.append(begin_arm(replicate, planned))
            time_left.skip(place, Work("step", planned.name), arms[-1].steps)
            evaluations = arms[-1].steps // (prepared.recipe.measures.evaluate_every or arms[-1].steps + 1)
            time_left.skip(place, Work("evaluate"), evaluations)
    if not arms:
        return
    of_seed = prepared.arms_of(replicate.seed)
    bytes_to_save = sum(checkpoint_bytes(prepared.recipe.training, of_seed[arm.name].resolved) for arm in arms)
    folder = replicate.journal.run_folder / CHECKPOINT_FOLDER / TRAINING_FOLDER
    pace = Pace(prepared.recipe.checkpoints, expected_save_seconds(folder, bytes_to_save))
    steps = {arm.name: arm.steps_in_all for arm in arms}
    progress.begin(f"Training {', '.join(steps)}, {replicate.title}", steps)
    try:
        take_steps(replicate, arms, pace)
        progress.end()
        for arm in _alive(arms):
            progress.say(f"After training, {arm.name}, {replicate.title}")
            with on_its_own(replicate, arm.name, arm):
                _finish(replicate, arm)
    except Stopped:
        _save(replicate, arms, pace)
        raise
    finally:
        replicate.saving.add(pace)


def take_steps(replicate: Replicate, arms: Sequence[ArmInTraining], pace: Pace) -> None:
    """All steps that are left, each journalled and, where due, followed by an evaluation or a checkpoint."""
    prepared, training = replicate.prepared, replicate.prepared.recipe.training
    uninterrupted, time_left = replicate.journal.interruption.deferred, replicate.time_left
    for arm in arms:  # an earlier process may have ended between a step and its evaluation
        with on_its_own(replicate, arm.name, arm):
            _evaluate_if_due(replicate, arm)
    last = max((arm.steps_in_all for arm in _alive(arms)), default=0)
    first, windows = min((arm.steps for arm in _alive(arms)), default=last), training.batch * training.accumulation
    following = prepared.corpus.batch(replicate.seed, first, windows) if first < last else None
    for step in range(first, last):
        assert following is not None
        batch = following
        forget_other_windows(prepared, batch)
        if step + 1 < last:  # the stored rows of the next step are read while this one is computed
            following = prepared.corpus.batch(replicate.seed, step + 1, windows)
            # In no variable: it would hold an arm that fails in this step until the next.
            bring_rows(prepared, [arm.arm for arm in _alive(arms) if step + 1 < arm.steps_in_all], following, step + 1)
        for arm in turn_order(_alive(arms), step):
            if step < arm.steps or step >= arm.steps_in_all:  # it goes on from a later checkpoint, or is done
                continue
            # A step and what it writes are never cut in two: a signal waits for the end of both.
            work = Work("step", arm.name)
            with uninterrupted(), on_its_own(replicate, arm.name, arm), time_left.doing(arm.journal.place, work):
                with lean(prepared, a_step=True):
                    outcome = arm.arm.take_step(batch, step)
                _record_step(replicate, arm, outcome)
            if arm.failed:
                continue
            replicate.progress.step(arm.name, step, outcome.loss_nats, outcome.tokens, outcome.seconds)
            with on_its_own(replicate, arm.name, arm):
                _evaluate_if_due(replicate, arm)
        if pace.is_due(step + 1):
            _save(replicate, arms, pace)


def _alive(arms: Sequence[ArmInTraining]) -> list[ArmInTraining]:
    return [arm for arm in arms if not arm.failed]


def _save(replicate: Replicate, arms: Sequence[ArmInTraining], pace: Pace) -> None:
    """A checkpoint of every arm in training that has gone on since its last one."""
    with replicate.journal.interruption.deferred():
        began = time.monotonic()
        saved = []
        for arm in _alive(arms):
            with on_its_own(replicate, arm.name, arm):
                saved.append(arm.save())
        if any(saved):
            pace.saved(time.monotonic() - began)


def _evaluate_if_due(replicate: Replicate, arm: ArmInTraining) -> None:
    """Evaluate after these steps, if the recipe wants it and it has not been done."""
    recipe, steps = replicate.prepared.recipe, arm.steps
    every = recipe.measures.evaluate_every
    if not every or steps == 0 or steps % every or steps >= arm.steps_in_all or arm.evaluated:
        return
    with replicate.time_left.doing(arm.journal.place, Work("evaluate")):
        measured = evaluate_arm(replicate.prepared, arm.arm, steps)
    with replicate.journal.interruption.deferred():
        record_evaluations(arm.journal, steps, measured)
        arm.evaluated = True
        arm.position = arm.journal.position


def _record_step(replicate: Replicate, arm: ArmInTraining, outcome: StepOutcome) -> None:
    journal, step = arm.journal, outcome.step
    change = outcome.plan_step
    if change is not None:
        trained_now = arm.arm.applied.trained_parameters
        journal.append(PlanChanged(*journal.place, step, list(change.thawed), list(change.frozen), trained_now))
    untimed = step - arm.began_at < replicate.prepared.recipe.training.untimed_steps
    journal.append(
        record_of(StepTaken, journal.place, outcome, untimed=untimed, processes=replicate.prepared.world.size)
    )
    if not untimed:
        arm.step_seconds.append(outcome.seconds)
    norms = arm.watch.after_step(step)
    if norms is not None:
        journal.append(record_of(WeightChange, journal.place, norms, step=step))
    arm.steps = step + 1
    arm.evaluated = False
    arm.position = journal.position


def _finish(replicate: Replicate, arm: ArmInTraining) -> None:
    """Measure the trained model, prove what was frozen, and export the model if the recipe asks for it."""
    prepared, journal = replicate.prepared, arm.journal
    time_left, stored = replicate.time_left, arm.arm.forward.stores_prefix
    planned = prepared.arms_of(replicate.seed)[arm.name]
    if (speed := speed_of(prepared, planned, arm.step_seconds, stores_prefix=stored)) is not None:
        replicate.progress.say(f"Arm {arm.name}: {speed.sentence}")
    with time_left.doing(journal.place, Work("evaluate")):
        trained = reads_an_epoch(prepared, arm.name)
        measured = evaluate_arm(prepared, arm.arm, arm.steps, trained=trained)
        record_evaluations(journal, arm.steps, measured)
        record_by_frequency(journal, arm.steps, measured)
    journal.append(record_of(FinalWeights, journal.place, arm.watch.final()))
    frozen = verified(arm.arm)
    journal.append(FrozenChecked(*journal.place, frozen.checked_values, list(frozen.moved)))
    with time_left.doing(journal.place, Work("text")), whole_for_text(arm.arm):
        record_continuations(prepared, arm.arm.model, journal)
    ended = weights_at_the_end(arm.arm)
    # Exporting the model ends the arm: from here to its last line there is no going back.
    with replicate.journal.interruption.deferred():
        if arm.name in prepared.recipe.kept_weights:
            keep_weights(arm.arm, arm.steps, replicate.seed, replicate.weights_folder_of(arm.name))
        if replicate.saves_model_of(arm.name):
            prepared.require_unchanged()  # frozen weights are written as the file has them
            save_model(prepared, planned, arm.arm, arm.steps, replicate.journal.run_folder)
        fill_seconds = replicate.fill_seconds(planned.resolved.prefix_layers)
        journal.append(ArmFinished(*journal.place, arm.steps, ended.optimizer_bytes, ended.sha256, fill_seconds))
        journal.flush()
        arm.finished = True
        arm.checkpoints.remove()
    # Steps under some conditions and then under others are what neither would give.
    if arm.began_at == 0 or not replicate.conditions_changed:
        keep_in_store(replicate, arm.name)
