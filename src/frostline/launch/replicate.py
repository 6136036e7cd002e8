"""How does one replicate run? All arms on the same batches; what happens is measured between the steps and journalled.

Training itself is `engine.train_in_lock_step`; here is what surrounds each step, never inside its timer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from frostline.corpus import Batch
from frostline.engine import Arm, ArmStopped, StepOutcome, train_in_lock_step
from frostline.errors import CacheError
from frostline.journal import (
    ArmFailed,
    ArmFinished,
    ArmStarted,
    FinalWeights,
    FrozenChecked,
    PlanChanged,
    StepTaken,
    WatchedMatrices,
    WeightChange,
)
from frostline.launch.arm_store import ArmStore
from frostline.launch.arms import forget_other_windows, make_arm, model_for_arm
from frostline.launch.handover import save_model
from frostline.launch.measuring import UNTOUCHED, evaluate_everywhere, record_continuations, record_evaluations
from frostline.launch.prepare import Prepared
from frostline.launch.progress import RunProgress
from frostline.launch.recorder import Recorder
from frostline.measures import LossMeasure, WeightWatch, weights_sha256


@dataclass
class ArmInTraining:
    """An arm with what watches it."""

    arm: Arm
    watch: WeightWatch
    steps: int = 0
    optimizer_bytes: int = 0
    failed: bool = False


@dataclass(frozen=True)
class Replicate:
    """One seed of one variant, and where its results go."""

    prepared: Prepared
    seed: int
    recorder: Recorder
    progress: RunProgress
    run_folder: Path
    store: ArmStore | None = None
    """Arms that were trained before; None trains all anew."""

    @property
    def title(self) -> str:
        return f"{self.prepared.variant}, seed {self.seed}" if self.prepared.variant else f"seed {self.seed}"


def run_replicate(replicate: Replicate) -> None:
    """Train every arm with the replicate's seed, and journal all that the recipe asks for."""
    prepared = replicate.prepared
    known_text = _reuse(replicate, UNTOUCHED)
    names = [name for name in prepared.recipe.arms if not _reuse(replicate, name)]
    if not names and known_text:
        return
    replicate.progress.say(f"Before training, {replicate.title}")
    if not known_text:
        record_continuations(prepared, replicate.seed, UNTOUCHED, prepared.model, replicate.recorder)
        _keep(replicate, UNTOUCHED)
    before = evaluate_everywhere(prepared, prepared.model)
    for group in [names] if prepared.schedule == "lock-step" else [[name] for name in names]:
        _train_group(replicate, group, before)


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


def _train_group(replicate: Replicate, names: Sequence[str], before: dict[str, LossMeasure]) -> None:
    """Train `names` in lock step from beginning to end."""
    prepared, recorder, progress = replicate.prepared, replicate.recorder, replicate.progress
    training, every = prepared.recipe.training, prepared.recipe.measures.evaluate_every
    arms = {name: _start_arm(replicate, name, before) for name in names}
    progress.begin(f"Training {', '.join(names)}, {replicate.title}", list(names), training.steps)

    def batch_of_step(step: int) -> Batch:
        batch = prepared.corpus.batch(replicate.seed, step, training.batch * training.accumulation)
        forget_other_windows(prepared, batch)
        return batch

    for outcome in train_in_lock_step([trained.arm for trained in arms.values()], batch_of_step, training.steps):
        trained = arms[outcome.arm]
        if isinstance(outcome, ArmStopped):
            trained.failed = True
            recorder.append(ArmFailed(prepared.variant, replicate.seed, outcome.arm, outcome.step, outcome.cause))
            progress.say(f"Arm {outcome.arm} stopped: {outcome.cause}")
            continue
        trained.steps = outcome.step + 1
        trained.optimizer_bytes = trained.arm.optimizer_bytes()
        _record_step(replicate, outcome, trained)
        progress.step(outcome.arm, outcome.step, outcome.loss_nats, outcome.tokens, outcome.seconds)
        if every and trained.steps % every == 0 and trained.steps < training.steps:
            measured = evaluate_everywhere(prepared, trained.arm.model)
            record_evaluations(prepared, replicate.seed, outcome.arm, trained.steps, measured, recorder)
    progress.end()
    for name, trained in arms.items():
        if not trained.failed:
            progress.say(f"After training, {name}, {replicate.title}")
            _finish_arm(replicate, name, trained)


def _start_arm(replicate: Replicate, name: str, before: dict[str, LossMeasure]) -> ArmInTraining:
    """An arm on a copy of the untouched model; the copy is hashed, so that pairing is proved and not assumed."""
    prepared, seed, recorder = replicate.prepared, replicate.seed, replicate.recorder
    recipe, variant = prepared.recipe, prepared.variant
    model = model_for_arm(prepared, name)
    initial_sha256 = weights_sha256(model.named_parameters())
    arm = make_arm(prepared, name, seed, model=model, say=replicate.progress.say)
    cost = prepared.costs[name]
    watch = WeightWatch(
        arm.applied, recipe.measures.watch, every=recipe.measures.weight_change_every, base=prepared.model
    )
    recorder.append(
        ArmStarted(
            variant=variant,
            seed=seed,
            arm=name,
            plan=prepared.plans[name].text,
            learning_rate=arm.learning_rate,
            weight_decay=recipe.weight_decay_of(name),
            parameters=arm.applied.parameters,
            trained_parameters=arm.applied.trained_parameters,
            prefix_layers=prepared.resolved[name].prefix_layers,
            step_flops=cost.step_flops,
            ceiling=cost.ceiling,
            ceiling_cached=cost.ceiling_cached,
            initial_sha256=initial_sha256,
        )
    )
    recorder.append(WatchedMatrices(variant, seed, name, watch.names, watch.layers, watch.roles, watch.trained))
    record_evaluations(prepared, seed, name, 0, before, recorder)
    return ArmInTraining(arm, watch)


def _record_step(replicate: Replicate, outcome: StepOutcome, trained: ArmInTraining) -> None:
    variant, seed, recorder = replicate.prepared.variant, replicate.seed, replicate.recorder
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
            untimed=outcome.step < replicate.prepared.recipe.training.untimed_steps,
            seconds=outcome.seconds,
        )
    )
    norms = trained.watch.after_step(outcome.step)
    if norms is not None:
        recorder.append(WeightChange(variant, seed, outcome.arm, outcome.step, norms.change, norms.drift))


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
    recorder.append(ArmFinished(variant, seed, name, trained.steps, trained.optimizer_bytes, final_sha256))
    _keep(replicate, name)
    if _is_saved(replicate, name):
        save_model(trained.arm, prepared.tokenizer, variant, replicate.run_folder)
