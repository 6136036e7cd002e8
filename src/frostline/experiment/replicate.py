"""How does one replicate run? All arms on the same batches; what happens is measured between the steps and journalled.

Training itself is `engine.train_in_lock_step`; here is what surrounds each step, never inside its timer. An arm whose
journal and checkpoints an earlier process left goes on from there (`arm_in_training`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from frostline.arms import checkpoint_bytes, forget_other_windows
from frostline.corpus import Batch
from frostline.engine import ArmStopped, StepOutcome, train_in_lock_step
from frostline.errors import CacheError
from frostline.experiment.arm_in_training import ArmInTraining, Replicate, attempt, begin_arm, how_complete, mark_failed
from frostline.experiment.checkpoints import TRAINING_FOLDER, Pace, expected_save_seconds
from frostline.experiment.measuring import UNTOUCHED, evaluate_everywhere, record_continuations, record_evaluations
from frostline.experiment.saved_model import save_model
from frostline.interruption import Stopped
from frostline.measures import weights_sha256
from frostline.run_folder import (
    CHECKPOINT_FOLDER,
    ArmFinished,
    ArmStarted,
    FinalWeights,
    FrozenChecked,
    PlanChanged,
    StepTaken,
    WeightChange,
)


def run_replicate(replicate: Replicate) -> None:
    """Train every arm with the replicate's seed, and journal all that the recipe asks for.

    Arms that have finished, or failed, are left alone. Raises `Stopped` when a signal asks for it, with everything
    saved; `RunFolderError` when the disk takes no more.
    """
    prepared = replicate.prepared
    known_text = how_complete(replicate, UNTOUCHED) == "finished" or _reuse(replicate, UNTOUCHED)
    names = []
    for name in prepared.recipe.arms:
        found = how_complete(replicate, name)
        if found == "finished":
            replicate.checkpoints(name).remove()  # killed between its last line and this
        elif (found == "begun" or replicate.retry_failed) and (
            replicate.checkpoints(name).newest_steps() or not _reuse(replicate, name)
        ):
            names.append(name)
    if not names and known_text:
        return
    replicate.progress.say(f"Before training, {replicate.title}")
    if not known_text:
        replicate.begin_anew(UNTOUCHED)
        record_continuations(prepared, replicate.seed, UNTOUCHED, prepared.model, replicate.recorder)
        _keep(replicate, UNTOUCHED)
    for group in [names] if prepared.schedule == "lock-step" else [[name] for name in names]:
        _train_group(replicate, group)


def _train_group(replicate: Replicate, names: Sequence[str]) -> None:
    """Train `names` in lock step from beginning, or from where they were, to end."""
    prepared, progress = replicate.prepared, replicate.progress
    training = prepared.recipe.training
    arms: dict[str, ArmInTraining] = {}
    for name in names:
        begun = begin_arm(replicate, name)
        if begun is not None:
            arms[name] = begun
    if not arms:
        return
    bytes_to_save = sum(checkpoint_bytes(prepared.arms[name].resolved) for name in arms)
    expected = expected_save_seconds(replicate.run_folder / CHECKPOINT_FOLDER / TRAINING_FOLDER, bytes_to_save)
    pace = Pace(prepared.recipe.checkpoints, expected)
    progress.begin(f"Training {', '.join(arms)}, {replicate.title}", list(arms), training.steps)
    try:
        _take_steps(replicate, arms, pace)
        progress.end()
        for name, trained in arms.items():
            if not trained.failed:
                progress.say(f"After training, {name}, {replicate.title}")
                attempt(replicate, trained, partial(_finish_arm, replicate, name, trained))
    except Stopped:
        _save(replicate, arms, pace)
        raise
    finally:
        replicate.saving.add(pace)


def _take_steps(replicate: Replicate, arms: dict[str, ArmInTraining], pace: Pace) -> None:
    """All steps that are left, each journalled and, where due, followed by an evaluation or a checkpoint."""
    prepared, recorder, progress = replicate.prepared, replicate.recorder, replicate.progress
    training = prepared.recipe.training

    def batch_of_step(step: int) -> Batch:
        batch = prepared.corpus.batch(replicate.seed, step, training.batch * training.accumulation)
        forget_other_windows(prepared, batch)
        return batch

    for trained in arms.values():
        attempt(replicate, trained, partial(_evaluate_if_due, replicate, trained))
    in_training = [trained.arm for trained in arms.values() if not trained.failed]
    stepping = train_in_lock_step(
        in_training, batch_of_step, training.steps, {name: trained.steps for name, trained in arms.items()}
    )
    while True:
        # A step and what it writes are never cut in two: a signal waits for the end of both.
        with recorder.interruption.deferred():
            outcome = next(stepping, None)
            if outcome is None:
                break
            trained = arms[outcome.arm]
            if isinstance(outcome, ArmStopped):
                mark_failed(replicate, trained, outcome.error)
                continue
            attempt(replicate, trained, partial(_record_step, replicate, outcome, trained))
        if not trained.failed:
            progress.step(outcome.arm, outcome.step, outcome.loss_nats, outcome.tokens, outcome.seconds)
            attempt(replicate, trained, partial(_evaluate_if_due, replicate, trained))
        if trained.failed:
            in_training.remove(trained.arm)
        alive = [trained for trained in arms.values() if not trained.failed]
        if alive and all(other.steps == outcome.step + 1 for other in alive) and pace.is_due(outcome.step + 1):
            _save(replicate, arms, pace)


def _save(replicate: Replicate, arms: dict[str, ArmInTraining], pace: Pace) -> None:
    """A checkpoint of every arm in training that has gone on since its last one."""
    with replicate.recorder.interruption.deferred():
        began = time.monotonic()
        saved = [trained.save(replicate) for trained in arms.values() if not trained.failed]
        if any(saved):
            pace.saved(time.monotonic() - began)


def _evaluate_if_due(replicate: Replicate, trained: ArmInTraining) -> None:
    """Evaluate after these steps, if the recipe wants it and it has not been done."""
    prepared = replicate.prepared
    every = prepared.recipe.measures.evaluate_every
    steps = trained.steps
    if not every or steps == 0 or steps % every or steps >= prepared.recipe.training.steps or trained.evaluated:
        return
    measured = evaluate_everywhere(prepared, trained.arm.model)
    with replicate.recorder.interruption.deferred():
        record_evaluations(prepared, replicate.seed, trained.name, steps, measured, replicate.recorder)
        trained.evaluated = True
        trained.position = replicate.position(trained.name)


def _record_step(replicate: Replicate, outcome: StepOutcome, trained: ArmInTraining) -> None:
    variant, seed, recorder = replicate.prepared.variant, replicate.seed, replicate.recorder
    untimed_steps = replicate.prepared.recipe.training.untimed_steps
    change = outcome.plan_step
    if change is not None:
        trained_now = trained.arm.applied.trained_parameters
        recorder.append(
            PlanChanged(variant, seed, outcome.arm, outcome.step, list(change.thawed), list(change.frozen), trained_now)
        )
    recorder.append(
        StepTaken(
            variant=variant,
            seed=seed,
            arm=outcome.arm,
            step=outcome.step,
            loss_nats=outcome.loss_nats,
            gradient_norm=outcome.gradient_norm,
            learning_rate=outcome.learning_rate,
            predictions=outcome.predictions,
            tokens=outcome.tokens,
            windows_sha256=outcome.windows_sha256,
            untimed=outcome.step - trained.began_at < untimed_steps,
            seconds=outcome.seconds,
        )
    )
    norms = trained.watch.after_step(outcome.step)
    if norms is not None:
        recorder.append(WeightChange(variant, seed, outcome.arm, outcome.step, norms.change, norms.drift))
    trained.steps = outcome.step + 1
    trained.evaluated = False
    trained.position = replicate.position(trained.name)


def _finish_arm(replicate: Replicate, name: str, trained: ArmInTraining) -> None:
    """Measure the trained model, prove what was frozen, and hand the model over if the recipe asks for it."""
    prepared, seed, recorder = replicate.prepared, replicate.seed, replicate.recorder
    variant, applied = prepared.variant, trained.arm.applied
    measured = evaluate_everywhere(prepared, trained.arm.model)
    record_evaluations(prepared, seed, name, trained.steps, measured, recorder)
    norms = trained.watch.final()
    recorder.append(FinalWeights(variant, seed, name, norms.norm, norms.drift, norms.relative_drift, norms.stable_rank))
    frozen = applied.verify()
    recorder.append(FrozenChecked(variant, seed, name, frozen.checked_values, list(frozen.moved)))
    record_continuations(prepared, seed, name, trained.arm.model, recorder)
    final_sha256 = weights_sha256(applied.trainable_parameters())
    optimizer_bytes = trained.arm.optimizer_bytes()
    # Handing the model over ends the arm: from here to its last line there is no going back.
    with recorder.interruption.deferred():
        if _is_saved(replicate, name):
            save_model(trained.arm, prepared.tokenizer, variant, replicate.run_folder)
        recorder.append(ArmFinished(variant, seed, name, trained.steps, optimizer_bytes, final_sha256))
        recorder.flush(variant, seed, name)
        trained.finished = True
        replicate.checkpoints(name).remove()
    _keep(replicate, name)


def _reuse(replicate: Replicate, name: str) -> bool:
    """Whether the records of this arm could be taken from an earlier run; if so, they are in the journal now."""
    prepared, seed, store = replicate.prepared, replicate.seed, replicate.store
    if store is None or _is_saved(replicate, name):
        return False
    kept = store.find(store.key(prepared, name, seed))
    if kept is None:
        return False
    if name:
        replicate.progress.say(f"Arm {name}, {replicate.title}: taken from an earlier run ({kept.trained_by})")
    replicate.begin_anew(name)
    for line in kept.lines:
        origin = {"reused_from": kept.trained_by} if line["kind"] == ArmStarted.__name__ else {}
        replicate.recorder.append_again(prepared.variant, seed, name, {**line, **origin})
    return True


def _keep(replicate: Replicate, name: str) -> None:
    """Keep the arm's records for later runs."""
    prepared, seed, store = replicate.prepared, replicate.seed, replicate.store
    lines = replicate.recorder.journal.lines_of(prepared.variant, seed, name)
    if store is None or not lines:
        return
    try:
        store.keep(store.key(prepared, name, seed), lines)
    except CacheError as error:
        replicate.progress.say(f"Not kept for later runs: {error}")


def _is_saved(replicate: Replicate, name: str) -> bool:
    """Whether the recipe asks for this arm's trained model, which only training can give."""
    recipe = replicate.prepared.recipe
    return name in recipe.save and replicate.seed == recipe.seeds[0]
