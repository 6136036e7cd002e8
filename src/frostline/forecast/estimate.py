"""What will the experiment take, before it runs? Memory, time and disk of each arm, and what it saves.

That the weights fit into memory is checked on a model without memory (torch's meta device). Sizes follow from the
plan; times, and what a forward pass keeps, from passes of a model cut down to a few layers (`calibration`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import polars as pl
import psutil

from frostline.arms import (
    MEGABYTE,
    USUAL_TRIALS,
    PlannedArm,
    Prepared,
    choose_for,
    epoch_steps,
    evaluated_windows,
    free_bytes,
    journal_bytes,
    make_arm,
    prepare,
    process_bytes,
    require_first_step,
    run_bytes,
    run_folder_bytes,
    saved_model_bytes,
    steps_within,
    tensor_bytes,
    trained_values,
    trial_training,
)
from frostline.arms import STEPS as MEMORY_STEPS
from frostline.engine import (
    PrefixTrial,
    default_disk_bytes,
    default_memory_bytes,
    moments_bytes,
    resolve_device,
)
from frostline.forecast.calibration import StepParts, calibrate_arm, cut_model, cut_prepared
from frostline.measures import EVALUATION_WINDOWS, end_token_ids, evaluate_loss, sample_continuations
from frostline.readable import size
from frostline.recipe import Recipe, Variant, variants_of

SAMPLED_POSITIONS = 8
"""Positions of a continuation that are timed."""
EVALUATED_WINDOWS = 2
SETTLING_FORWARDS = 10
"""Forward passes of two windows with which the engine tries its shortcuts before an arm's first step."""


@dataclass(frozen=True)
class ArmEstimate:
    """One arm, alone."""

    arm: str
    plan: str
    step_seconds: float
    """Seconds of a step, with its prefix stored if it is."""
    first_visit_seconds: float | None
    """A step on windows whose prefix is not stored yet; None where nothing is stored."""
    total_seconds: float
    """T: all steps of one replicate, after the first visits of its windows."""
    saving: float | None
    """r against the baseline, of steps with the prefix stored; None for the baseline."""
    ceiling: float
    ceiling_cached: float
    peak_bytes: int
    """Peak memory alone in a process: on CPU the resident set, on CUDA the tensors."""
    optimizer_bytes: int
    saved_model_bytes: int
    """Bytes on disk of its trained model, where the recipe saves it; else 0."""
    steps: int
    """Optimizer steps of one replicate; about as many, where the recipe has a budget of time."""


@dataclass(frozen=True)
class RunEstimate:
    """A variant of the experiment."""

    variant: str
    baseline: str
    device: str
    precision: str
    arms: list[ArmEstimate]
    seconds: float
    """Seconds of the whole run: training, evaluation, sampling, measuring memory."""
    training_seconds: float
    """Seconds of all steps of all arms and replicates."""
    disk_bytes: int
    """Bytes of run folder and cache folder together."""
    prefix_disk_bytes: int
    """Bytes of stored prefixes among them."""
    memory_bytes: int
    """Peak memory of the run's process at its fullest, or of the run and an arm measured beside it."""
    free_memory_bytes: int
    free_disk_bytes: int
    warnings: list[str]
    """What will not go well, in sentences; empty where everything fits."""
    race_seconds: float = 0.0
    """Seconds of racing learning rates first, in as many trials as it usually takes; 0 where all are given."""
    budget_seconds: float | None = None
    """Seconds of steps that every arm is given, from which its number of steps follows; None where the recipe names
    them."""

    def frame(self) -> pl.DataFrame:
        """One row an arm: variant, and the fields of `ArmEstimate`."""
        rows = [{"variant": self.variant, **asdict(arm)} for arm in self.arms]
        return pl.DataFrame(rows, schema_overrides={"saving": pl.Float64, "first_visit_seconds": pl.Float64})


def estimate_recipe(recipe: Recipe, cache: Path, *, say: Callable[[str], None]) -> list[RunEstimate]:
    """Estimate every variant. Raises `FrostlineError`, where an arm certainly does not fit too."""
    estimates = []
    for variant in variants_of(recipe):
        with variant.recipe.locating_errors():
            estimates.append(_estimate(variant, cache, say))
    return estimates


def _estimate(variant: Variant, cache: Path, say: Callable[[str], None]) -> RunEstimate:
    recipe = variant.recipe
    device = resolve_device(recipe.training.device)
    free = free_bytes(device)
    prepared = prepare(variant, cache, say=say)
    require_first_step(prepared)
    training, windows = recipe.training, prepared.corpus.windows
    batch = prepared.corpus.batch(recipe.seeds[0], 0, training.batch)
    base = process_bytes(recipe, cache) if device.type == "cpu" else 0
    memory_room, disk_room = _rooms(recipe, cache)
    parts, arms = {}, []
    stored: dict[int, int] = {}  # bytes of all windows' rows by depth, which arms of one depth share
    for name, planned in prepared.arms.items():
        resolved = planned.resolved
        say(f"Calibrating {name}")
        parts[name] = calibrate_arm(prepared, name, batch, free)
        trial = _try_prefix(prepared, name) if resolved.prefix_layers else None
        arms.append(_arm(prepared, planned, parts, trial, base, max(memory_room, disk_room)))
        if trial is not None and arms[-1].first_visit_seconds is not None:
            stored[resolved.prefix_layers] = (windows + evaluated_windows(prepared)) * trial.row_bytes
    say("Calibrating evaluation and sampling")
    training_seconds = sum(arm.total_seconds for arm in arms) * len(recipe.seeds)
    race_seconds = sum(_race_seconds(prepared, arm) for arm in arms)
    prefix_disk = min(sum(stored.values()), disk_room)
    # The journal once more: it is kept for later runs as well.
    disk = run_folder_bytes(prepared) + journal_bytes(prepared) + prefix_disk
    free_disk = psutil.disk_usage(str(cache if cache.exists() else Path())).free
    found = RunEstimate(
        variant=variant.label,
        baseline=recipe.baseline_arm,
        device=str(prepared.device),
        precision=prepared.precision,
        arms=arms,
        seconds=training_seconds + race_seconds + _seconds_around(prepared, arms),
        training_seconds=training_seconds,
        race_seconds=race_seconds,
        budget_seconds=training.seconds,
        prefix_disk_bytes=prefix_disk,
        disk_bytes=disk,
        memory_bytes=_run_memory(prepared, arms, parts, min(sum(stored.values()), memory_room), base),
        free_memory_bytes=free,
        free_disk_bytes=free_disk,
        warnings=[],
    )
    found.warnings.extend(_warnings(prepared, found))
    return found


def _arm(
    prepared: Prepared,
    planned: PlannedArm,
    parts: dict[str, StepParts],
    trial: PrefixTrial | None,
    base: int,
    room: int,
) -> ArmEstimate:
    recipe, resolved, cost = prepared.recipe, planned.resolved, planned.cost
    name = planned.name
    training, own = recipe.training, parts[name]
    step = training.accumulation * own.pass_seconds + own.optimizer_seconds
    windows_of_a_step = training.batch * training.accumulation
    prefix_seconds, stored = 0.0, False
    if training.seconds is not None:
        planned = replace(planned, steps=max(1, int(training.seconds / step)))
    if trial is not None:
        prefix_seconds = trial.seconds * windows_of_a_step
        stored = choose_for(prepared, planned, trial, room).use and recipe.windows.order == "epochs"
    steps = planned.steps
    if training.seconds is not None:
        later = step if stored else step + prefix_seconds
        steps = max(1, steps_within(training.seconds, step + prefix_seconds, later, epoch_steps(prepared)))
    visits = windows_of_a_step * steps
    first_visits = min(prepared.corpus.windows, visits) if stored else visits
    step_seconds = step if stored else step + prefix_seconds
    baseline = parts.get(recipe.baseline_arm)
    saving = None
    if name != recipe.baseline_arm and baseline is not None:
        saving = 1 - step_seconds / (training.accumulation * baseline.pass_seconds + baseline.optimizer_seconds)
    trained = trained_values(resolved)
    return ArmEstimate(
        arm=name,
        plan=planned.plan.text,
        step_seconds=step_seconds,
        first_visit_seconds=step + prefix_seconds if stored else None,
        steps=steps,
        total_seconds=steps * step + first_visits * prefix_seconds / windows_of_a_step,
        saving=saving,
        ceiling=cost.ceiling,
        ceiling_cached=cost.ceiling_cached,
        peak_bytes=base + tensor_bytes(prepared, resolved, own.saved_bytes),
        optimizer_bytes=moments_bytes(training, trained),
        saved_model_bytes=saved_model_bytes(resolved) if name in recipe.save else 0,
    )


def _run_memory(prepared: Prepared, arms: list[ArmEstimate], parts: dict[str, StepParts], rows: int, base: int) -> int:
    """Peak of the run, or of what it has loaded and an arm alone in a process beside it, whichever is more."""
    run = run_bytes(prepared, {name: own.saved_bytes for name, own in parts.items()}, rows)
    beside = base + run.base + max(arm.peak_bytes for arm in arms) if prepared.recipe.measures.memory else 0
    return max(base + run.total, beside)


def _race_seconds(prepared: Prepared, arm: ArmEstimate) -> float:
    """The steps of an arm's race of learning rates; each first visit computes what the engine can store."""
    planned = prepared.arms[arm.arm]
    if not planned.raced:
        return 0.0
    trial = trial_training(prepared.recipe.training.of_steps(arm.steps), planned.resolved)
    first = arm.step_seconds if arm.first_visit_seconds is None else arm.first_visit_seconds
    return trial.steps * (first + (USUAL_TRIALS - 1) * arm.step_seconds)


def _try_prefix(prepared: Prepared, name: str) -> PrefixTrial | None:
    """What the prefix of a window costs, from a cut model whose prefix is shorter."""
    resolved = prepared.arms[name].resolved
    short = min(2, resolved.prefix_layers)
    top = min(resolved.prefix_layers, resolved.layers - 1)
    trials = []
    for depth in sorted({1, short}):
        cut = cut_prepared(prepared, name, [*range(depth), top])
        forward = make_arm(cut, cut.arms[name], cut.recipe.seeds[0], model=cut.model).forward
        trial = forward.prefix_trial
        if trial is None:
            return None
        trials.append(trial)
    first, last = trials[0], trials[-1]
    per_layer = (last.seconds - first.seconds) / max(1, short - 1) if short > 1 else 0.0
    seconds = first.seconds + max(0.0, per_layer) * (resolved.prefix_layers - 1)
    return PrefixTrial(None, seconds, first.row_bytes)


def _seconds_around(prepared: Prepared, arms: list[ArmEstimate]) -> float:
    """Everything but the steps: evaluation, sampling, trying shortcuts, measuring memory."""
    recipe, layers = prepared.recipe, next(iter(prepared.arms.values())).resolved.layers
    one, two = (
        _evaluation_and_sampling(replace(prepared, model=cut_model(prepared.model, range(depth)))) for depth in (1, 2)
    )
    window, position = (first + max(0.0, second - first) * (layers - 1) for first, second in zip(one, two, strict=True))
    held_out = prepared.corpus.held_out_windows
    if prepared.retention is not None:
        held_out += -(-prepared.retention.held_out_windows * prepared.retention.window_length // recipe.windows.length)
    measures, steps = recipe.measures, max(arm.steps for arm in arms)
    sampling = measures.sampling
    # The untouched model reads what was written, too.
    read = sampling.prompts * (sampling.prompt_tokens + sampling.new_tokens) / recipe.windows.length
    text = sampling.draws * (sampling.new_tokens * position + read * window) if sampling.prompts else 0.0
    evaluations = 1 + ((steps - 1) // measures.evaluate_every if measures.evaluate_every else 0)
    settling = SETTLING_FORWARDS * 2 * window
    of_an_arm = evaluations * held_out * window + text
    of_a_replicate = held_out * window + text + len(arms) * of_an_arm
    memory = 0.0
    if measures.memory:
        loading = 10.0
        memory = sum(loading + settling + MEMORY_STEPS * arm.step_seconds for arm in arms)
    return len(recipe.seeds) * of_a_replicate + settling * len(arms) + memory


def _evaluation_and_sampling(cut: Prepared) -> tuple[float, float]:
    """Seconds to evaluate one window, and to sample one position of all continuations."""
    sampling = cut.recipe.measures.sampling
    batch = next(iter(cut.corpus.held_out_batches(min(EVALUATED_WINDOWS, EVALUATION_WINDOWS))))
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        evaluate_loss(cut.model, [batch], device=cut.device, precision=cut.precision)
        seconds.append((time.perf_counter() - started) / len(batch.input_ids))
    if not sampling.prompts:
        return min(seconds), 0.0
    prompts = cut.corpus.prompts(cut.recipe.seeds[0], sampling.prompts, sampling.prompt_tokens)
    few = sampling.model_copy(update={"new_tokens": min(SAMPLED_POSITIONS, sampling.new_tokens)})
    started = time.perf_counter()
    sample_continuations(
        cut.model,
        prompts,
        few,
        0,
        end_token_ids(cut.model),
        device=cut.device,
        precision=cut.precision,
        by_cache=cut.samples_by_cache,
    )
    return min(seconds), (time.perf_counter() - started) / few.new_tokens


def _rooms(recipe: Recipe, cache: Path) -> tuple[int, int]:
    """Bytes that stored prefixes may take in memory and on disk."""
    settings = recipe.training.prefix_cache
    memory = default_memory_bytes() if settings.memory_mb is None else settings.memory_mb * MEGABYTE
    disk = default_disk_bytes(cache) if settings.disk_mb is None else settings.disk_mb * MEGABYTE
    return memory, disk


def _warnings(prepared: Prepared, found: RunEstimate) -> list[str]:
    warnings = []
    if inexact := prepared.recipe.training.inexact:
        warnings.append(f"Inexact, for all arms alike: {' and '.join(inexact)}.")
    if found.memory_bytes > found.free_memory_bytes and all(
        arm.peak_bytes <= found.free_memory_bytes for arm in found.arms
    ):
        warnings.append(
            f"The run needs {size(found.memory_bytes)} with all that it holds beside its arms, and "
            f"{size(found.free_memory_bytes)} of memory are free: use fewer arms at once "
            "(training.schedule=one-by-one), measures.weight_change_every=0, or measures.memory=false."
        )
    for arm in found.arms:
        if arm.peak_bytes > found.free_memory_bytes:
            warnings.append(
                f"Arm {arm.arm} needs {size(arm.peak_bytes)} and {size(found.free_memory_bytes)} "
                "of memory are free: use a smaller training.batch with training.accumulation to make up, "
                "training.checkpointing=true, or shorter windows."
            )
    if prepared.schedule == "one-by-one" and prepared.recipe.training.schedule == "auto" and len(found.arms) > 1:
        warnings.append("The arms do not fit into memory together: they train one after another.")
    if found.disk_bytes > found.free_disk_bytes:
        warnings.append(
            f"The run needs {size(found.disk_bytes)} of disk and {size(found.free_disk_bytes)} are free: "
            "free some, save fewer models, or set training.prefix_cache.disk_mb."
        )
    return warnings
