"""What will the experiment take, before it runs? Memory, time and disk of each arm, and what it saves.

That the weights fit into memory is checked on a model without memory (torch's meta device). Sizes follow from the
plan; times, and what a forward pass keeps, from passes of a model cut down to a few layers (`calibration`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
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
    foresee,
    free_bytes,
    journal_bytes,
    mapped_weight_bytes,
    process_bytes,
    run_bytes,
    run_folder_bytes,
    saved_bytes,
    steps_within,
    tensor_bytes,
    trained_values,
    trial_training,
    vocabulary_of,
)
from frostline.corpus import Batch
from frostline.engine import default_disk_bytes, default_memory_bytes, moments_bytes, resolve_device
from frostline.forecast.around import forward_cost, seconds_around
from frostline.forecast.bottom import (
    NOTHING_FILLED,
    FillEstimate,
    PrefixCost,
    fill_estimate,
    prefix_cost,
    read_rate,
)
from frostline.forecast.calibration import calibrate_arm
from frostline.forecast.cut import StepParts, require_fewer_layers
from frostline.forecast.small_passes import UPDATED_VALUES, SmallPasses, small_passes
from frostline.loading import in_place_bytes, weight_files
from frostline.readable import size
from frostline.recipe import Recipe, Variant, variants_of


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
    """Bytes on disk of its trained model, or of every seed's trained tensors, where the recipe saves them; else 0."""
    steps: int
    """Optimizer steps of one replicate; about as many, where the recipe has a budget of time."""
    mapped_bytes: int = 0
    """Pages of the model's file in `peak_bytes`, which the system may take back and read again."""


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
    mapped_bytes: int = 0
    """Pages of the model's file in `memory_bytes`: they go, and are read again, where other memory is wanted."""
    fill: FillEstimate = NOTHING_FILLED
    """Making the rows that arms start from before training; nothing where rows come as they are asked for."""
    timed: str = ""
    """What was timed, in a sentence."""

    @property
    def held_bytes(self) -> int:
        """What must be in memory, whatever the system takes back."""
        return self.memory_bytes - self.mapped_bytes

    def frame(self) -> pl.DataFrame:
        """One row an arm: variant, and the fields of `ArmEstimate`."""
        rows = [{"variant": self.variant, **asdict(arm)} for arm in self.arms]
        return pl.DataFrame(rows, schema_overrides={"saving": pl.Float64, "first_visit_seconds": pl.Float64})


def estimate_recipe(recipe: Recipe, cache: Path, *, say: Callable[[str], None]) -> list[RunEstimate]:
    """Estimate every variant, by a few layers of its model. Raises `FrostlineError`, for an arm that cannot fit too."""
    estimates = []
    for variant in variants_of(recipe):
        with variant.recipe.locating_errors():
            estimates.append(_estimate(variant, cache, say))
    return estimates


def _estimate(variant: Variant, cache: Path, say: Callable[[str], None]) -> RunEstimate:
    recipe = variant.recipe
    device = resolve_device(recipe.training.device)
    free = free_bytes(device)
    with ThreadPoolExecutor(1) as beside:
        # Another process loads the libraries alone while the model is looked at; nothing is timed meanwhile.
        empty = beside.submit(process_bytes, recipe, cache) if device.type == "cpu" else None
        prepared = foresee(variant, cache, say=say)
        base = 0 if empty is None else empty.result()
    training = recipe.training
    batch = prepared.corpus.batch(recipe.seeds[0], 0, training.batch)
    small = small_passes(prepared, batch, free)
    require_fewer_layers(prepared, None if small is None else small.rows)
    memory_room, disk_room = _rooms(recipe, cache, filled=prepared.fills_rows)
    parts, costs, arms = {}, {}, []
    for name, planned in prepared.arms.items():
        say(f"Calibrating {name}")
        parts[name] = calibrate_arm(prepared, name, batch, free, small)
        costs[name] = prefix_cost(prepared, name, small)
        arms.append(_arm(prepared, planned, parts, costs[name], base, max(memory_room, disk_room)))
    say("Calibrating evaluation and sampling")
    cost, reading = forward_cost(prepared, small), read_rate(weight_files(recipe.model, cache))
    filled = fill_estimate(prepared, costs, max(arm.steps for arm in arms), reading)
    training_seconds = sum(arm.total_seconds for arm in arms) * len(recipe.seeds)
    race_seconds = sum(_race_seconds(prepared, arm) for arm in arms)
    around = seconds_around(prepared, cost, max(arm.steps for arm in arms), [arm.step_seconds for arm in arms])
    rows = _stored_rows(prepared, arms, costs) if filled.windows == 0 else filled.rows_bytes
    prefix_disk = min(rows, disk_room) if filled.windows == 0 else rows  # a fill needs all of them
    memory, resident = _run_memory(prepared, arms, parts, min(rows, memory_room), base)
    # The journal once more: it is kept for later runs as well.
    disk = run_folder_bytes(prepared) + journal_bytes(prepared) + prefix_disk + filled.passing_bytes
    free_disk = psutil.disk_usage(str(cache if cache.exists() else Path())).free
    found = RunEstimate(
        variant=variant.label,
        baseline=recipe.baseline_arm,
        device=str(prepared.device),
        precision=prepared.precision,
        arms=arms,
        seconds=training_seconds + race_seconds + filled.seconds + around + in_place_bytes(prepared.model) / reading,
        training_seconds=training_seconds,
        race_seconds=race_seconds,
        budget_seconds=training.seconds,
        prefix_disk_bytes=prefix_disk,
        disk_bytes=disk,
        memory_bytes=memory,
        mapped_bytes=memory - resident,
        free_memory_bytes=free,
        free_disk_bytes=free_disk,
        warnings=[],
        fill=filled,
        timed=_what_was_timed(prepared, small, batch, reading),
    )
    found.warnings.extend(_warnings(prepared, found))
    return found


def _stored_rows(prepared: Prepared, arms: list[ArmEstimate], costs: Mapping[str, PrefixCost | None]) -> int:
    """Bytes of all windows' rows at every depth at which an arm stores them; arms of one depth share theirs."""
    windows = prepared.corpus.windows + evaluated_windows(prepared)
    stored = {}
    for arm in arms:
        cost = costs[arm.arm]
        if cost is not None and arm.first_visit_seconds is not None:
            stored[prepared.arms[arm.arm].resolved.prefix_layers] = windows * cost.row_bytes
    return sum(stored.values())


def _what_was_timed(prepared: Prepared, small: SmallPasses | None, batch: Batch, reading: float) -> str:
    if small is None:
        return "Put together from passes of the model cut down to a few layers."
    of_all = f"{vocabulary_of(prepared.model):,}"
    rows = "" if small.rows is None else f", with {small.rows:,} of the {of_all} rows of its head,"
    return (
        f"Put together from passes of one and two layers{rows} over {small.tokens:,} of the {batch.input_ids.size:,} "
        f"positions of a pass, and updates of {UPDATED_VALUES / 1e6:.0f} M weights. The file is read at "
        f"{size(reading)} a second."
    )


def _arm(
    prepared: Prepared,
    planned: PlannedArm,
    parts: dict[str, StepParts],
    cost_of_prefix: PrefixCost | None,
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
    if cost_of_prefix is not None:
        trial = cost_of_prefix.trial
        stored = prepared.fills_rows or (
            recipe.windows.order == "epochs" and choose_for(prepared, planned, trial, room).use
        )
        # What was filled before training is there at the first visit.
        prefix_seconds = 0.0 if prepared.fills_rows else trial.seconds * windows_of_a_step
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
    trained, facts = trained_values(resolved), prepared.memory_facts
    return ArmEstimate(
        arm=name,
        plan=planned.plan.text,
        step_seconds=step_seconds,
        first_visit_seconds=step + prefix_seconds if stored and not prepared.fills_rows else None,
        steps=steps,
        total_seconds=steps * step + first_visits * prefix_seconds / windows_of_a_step,
        saving=saving,
        ceiling=cost.ceiling,
        ceiling_cached=cost.ceiling_cached,
        peak_bytes=base + tensor_bytes(facts, resolved, own.saved_bytes),
        mapped_bytes=mapped_weight_bytes(facts, resolved),
        optimizer_bytes=moments_bytes(training, trained),
        saved_model_bytes=saved_bytes(recipe, name, resolved),
    )


def _run_memory(
    prepared: Prepared, arms: list[ArmEstimate], parts: dict[str, StepParts], rows: int, base: int
) -> tuple[int, int]:
    """Peak of the run, or of what it has loaded and an arm alone in a process beside it, whichever is more.

    And the same without pages of files, which the system may take back.
    """
    run = run_bytes(prepared.memory_facts, {name: own.saved_bytes for name, own in parts.items()}, rows)
    if not prepared.recipe.measures.memory:
        return base + run.total, base + run.resident
    together, alone = base + run.base + run.mapped, base + run.base
    child = max(arm.peak_bytes for arm in arms)
    child_alone = max(arm.peak_bytes - arm.mapped_bytes for arm in arms)
    return max(base + run.total, together + child), max(base + run.resident, alone + child_alone)


def _race_seconds(prepared: Prepared, arm: ArmEstimate) -> float:
    """The steps of an arm's race of learning rates; each first visit computes what the engine can store."""
    planned = prepared.arms[arm.arm]
    if not planned.raced:
        return 0.0
    trial = trial_training(prepared.recipe.training.of_steps(arm.steps), planned.resolved)
    first = arm.step_seconds if arm.first_visit_seconds is None else arm.first_visit_seconds
    return trial.steps * (first + (USUAL_TRIALS - 1) * arm.step_seconds)


def _rooms(recipe: Recipe, cache: Path, *, filled: bool) -> tuple[int, int]:
    """Bytes that stored prefixes may take in memory and on disk."""
    settings = recipe.training.prefix_cache
    memory = default_memory_bytes() if settings.memory_mb is None else settings.memory_mb * MEGABYTE
    disk = default_disk_bytes(cache, filled=filled) if settings.disk_mb is None else settings.disk_mb * MEGABYTE
    return memory, disk


def _warnings(prepared: Prepared, found: RunEstimate) -> list[str]:
    warnings = []
    if inexact := prepared.recipe.training.inexact:
        warnings.append(f"Inexact, for all arms alike: {' and '.join(inexact)}.")
    free = found.free_memory_bytes
    held = {arm.arm: arm.peak_bytes - arm.mapped_bytes for arm in found.arms}
    if found.held_bytes > free and max(held.values()) <= free:
        warnings.append(
            f"The run needs {size(found.held_bytes)} with all that it holds beside its arms, and "
            f"{size(free)} of memory are free: use fewer arms at once "
            "(training.schedule=one-by-one), measures.weight_change_every=0, or measures.memory=false."
        )
    for name, needed in held.items():
        if needed > free:
            warnings.append(
                f"Arm {name} needs {size(needed)} and {size(free)} "
                "of memory are free: use a smaller training.batch with training.accumulation to make up, "
                "training.checkpointing=true, or shorter windows."
            )
    if found.held_bytes <= free < found.memory_bytes and not prepared.fills_rows:
        warnings.append(
            "The model's file does not stay in memory beside what is held: its pages are read again and again, unless "
            "the frozen layers are filled into stored rows first (training.prefix_cache.fill=always)."
        )
    if prepared.schedule == "one-by-one" and prepared.recipe.training.schedule == "auto" and len(found.arms) > 1:
        warnings.append("The arms do not fit into memory together: they train one after another.")
    if found.disk_bytes > found.free_disk_bytes:
        warnings.append(
            f"The run needs {size(found.disk_bytes)} of disk and {size(found.free_disk_bytes)} are free: "
            "free some, save fewer models, or set training.prefix_cache.disk_mb."
        )
    return warnings
