"""What did each arm of each replicate do? The journal as arrays, one `ArmRun` for each arm of each replicate.

A replicate counts once it has finished. Where an arm has none that finished (the run was interrupted early), those
that got some way count as far as they got; a failed one never does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from frostline.errors import RunFolderError
from frostline.recipe import Recipe, load_recipe, variants_of
from frostline.run_folder import (
    RECIPE_FILE,
    ArmFailed,
    ArmFinished,
    ArmPlace,
    ArmStarted,
    BaselineTimes,
    Continuation,
    Evaluation,
    FrozenChecked,
    LayerFilled,
    LossByFrequency,
    PeakMemory,
    PlanChanged,
    RateChosen,
    RateTried,
    RunEnded,
    RunResumed,
    RunStarted,
    StepsSettled,
    StepTaken,
    TrueContinuation,
    UnitDone,
    UnitRecord,
    VariantPrepared,
    WatchedMatrices,
    read_journal,
    read_unit_records,
    records_of,
)
from frostline.stats.arm_run import ArmRun, Floats

Line = dict[str, object]
Placed = TypeVar(
    "Placed",
    ArmStarted,
    WatchedMatrices,
    FrozenChecked,
    ArmFinished,
    ArmFailed,
    Evaluation,
    Continuation,
    PlanChanged,
    TrueContinuation,
    LossByFrequency,
)
Written = TypeVar("Written", Continuation, TrueContinuation)


@dataclass(frozen=True)
class VariantRun:
    """One variant: its facts, and its arms in the order of the recipe."""

    prepared: VariantPrepared
    recipe: Recipe
    runs: dict[tuple[int, str], ArmRun]
    """Each arm of each replicate, by seed and arm."""
    memory: dict[str, PeakMemory]
    failed_to_begin: tuple[ArmFailed, ...] = ()
    """Arms that failed before their first record."""
    rates_tried: tuple[RateTried, ...] = ()
    """Trials of the races of learning rates."""
    rates_chosen: tuple[RateChosen, ...] = ()
    """What the races ended with."""
    steps_settled: dict[str, int] = field(default_factory=dict)
    """Steps of each arm that a budget of time became; empty where the recipe names the steps."""
    baselines_beside: dict[str, ArmRun] = field(default_factory=dict)
    """Baselines with the times that a unit of a cluster took beside its arms, by unit, where the journal has another's.
    All but the times is that of the journal."""

    @property
    def label(self) -> str:
        """'' where nothing varies."""
        return self.prepared.variant

    @property
    def baseline(self) -> str:
        """Name of the arm that others are compared with."""
        return self.recipe.baseline_arm

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the recipe: one for each replicate, begun or not."""
        return self.recipe.seeds

    @property
    def arms(self) -> list[str]:
        """Arms that began."""
        return [arm for arm in self.recipe.arms if any(name == arm for _, name in self.runs)]

    def of(self, arm: str) -> list[ArmRun]:
        """Every replicate of `arm` that began, in the order of the seeds."""
        return [self.runs[seed, arm] for seed in self.seeds if (seed, arm) in self.runs]

    def counting(self, arm: str) -> list[ArmRun]:
        """Replicates of `arm` whose numbers count."""
        finished = [run for run in self.of(arm) if run.finished is not None]
        return finished or [run for run in self.of(arm) if run.failed is None and len(run.losses) > 0]


@dataclass(frozen=True)
class RecordedRun:
    """A whole run folder, read."""

    recipe: Recipe
    started: RunStarted
    ended: RunEnded | None
    changes: tuple[str, ...]
    """Conditions that were others after a resume, as the user accepted."""
    variants: tuple[VariantRun, ...]


def read_run(run_folder: Path) -> RecordedRun:
    """Read recipe and journal. Raises `RunFolderError` or `RecipeError` where the folder is no run or is damaged."""
    lines = read_journal(run_folder)
    recipe_file = run_folder / RECIPE_FILE
    if not recipe_file.is_file():
        raise RunFolderError(
            f"{recipe_file}: there is no such file.", "A run folder keeps its recipe; give the whole folder."
        )
    recipe = load_recipe(recipe_file)
    started = records_of(lines, RunStarted)
    if not started:
        raise RunFolderError(f"{run_folder}: the journal has no beginning (no 'RunStarted').", "Run it again.")
    ended = records_of(lines, RunEnded)
    settled = records_of(lines, StepsSettled)
    recipe = _of_steps(recipe, settled)
    recipes = {
        variant.label: _of_steps(variant.recipe, [own for own in settled if own.variant == variant.label])
        for variant in variants_of(recipe)
    }
    memory = records_of(lines, PeakMemory)
    unit_records = read_unit_records(run_folder)
    runs, units = _arm_runs(lines), _units(unit_records)
    beside = [record for record in unit_records if isinstance(record, BaselineTimes)]
    variants = []
    for prepared in records_of(lines, VariantPrepared):
        label = prepared.variant
        if label not in recipes:
            raise RunFolderError(f"{run_folder}: the journal's variant '{label}' is not in {RECIPE_FILE}.")
        filled = [layer for layer in records_of(lines, LayerFilled) if layer.variant == label]
        own = {
            (seed, arm): replace(
                run,
                fill_seconds=_fill_seconds(run, filled, len(recipe.seeds)),
                unit=units[label, seed, arm].unit if (label, seed, arm) in units else "",
                machine=units[label, seed, arm].kind if (label, seed, arm) in units else "",
            )
            for (variant, seed, arm), run in runs.items()
            if variant == label
        }
        peaks = {peak.arm: peak for peak in memory if peak.variant == label}
        unbegun = [
            record for record in records_of(lines, ArmFailed)
            if record.variant == label and (record.seed, record.arm) not in own
        ]  # fmt: skip
        variants.append(
            VariantRun(
                prepared,
                recipes[label],
                own,
                peaks,
                tuple(unbegun),
                rates_tried=tuple(one for one in records_of(lines, RateTried) if one.variant == label),
                rates_chosen=tuple(one for one in records_of(lines, RateChosen) if one.variant == label),
                steps_settled={own.arm: own.steps for own in settled if own.variant == label},
                baselines_beside={
                    times.unit: baseline
                    for times in beside
                    if times.variant == label
                    and (baseline := _timed_by(times, own.get((times.seed, recipes[label].baseline_arm)))) is not None
                },
            )
        )
    changes = tuple(change for resumed in records_of(lines, RunResumed) for change in resumed.changes)
    return RecordedRun(recipe, started[0], ended[-1] if ended else None, changes, tuple(variants))


def _timed_by(times: BaselineTimes, baseline: ArmRun | None) -> ArmRun | None:
    """`baseline` with the times of the same steps in another unit; None where it has other steps, or none."""
    if baseline is None or len(times.seconds) != len(baseline.steps):
        return None
    seconds = np.array(times.seconds, dtype=np.float64)
    timed = np.isfinite(seconds)
    timed[times.untimed] = False
    return replace(baseline, seconds=seconds, timed=timed, unit=times.unit, machine=times.kind)


def _units(records: Iterable[UnitRecord]) -> dict[tuple[str, int, str], UnitDone]:
    """The unit that trained an arm, by variant, seed and arm: the first one that did, whose records are kept."""
    found: dict[tuple[str, int, str], UnitDone] = {}
    for unit in records:
        if isinstance(unit, UnitDone):
            for arm in unit.arms:
                found.setdefault((unit.variant, unit.seed, arm), unit)
    return found


def _fill_seconds(run: ArmRun, layers: list[LayerFilled], replicates: int) -> float:
    """What the arm alone would have had to fill: the layers below its frost line, shared by its replicates."""
    if run.trained_by:  # as the run noted it that filled the rows
        return 0.0 if run.finished is None else run.finished.fill_seconds
    return sum(own.seconds for own in layers if own.layer < run.started.prefix_layers) / replicates


def _of_steps(recipe: Recipe, settled: list[StepsSettled]) -> Recipe:
    """`recipe`; where it has a budget of time, with the steps of the arm that came farthest."""
    if recipe.training.seconds is None or not settled:
        return recipe
    training = recipe.training.model_copy(update={"steps": max(own.steps for own in settled)})
    return recipe.model_copy(update={"training": training})


def _arm_runs(lines: list[Line]) -> dict[ArmPlace, ArmRun]:
    by_kind: dict[str, list[Line]] = {}
    for line in lines:
        by_kind.setdefault(str(line["kind"]), []).append(line)

    def last(kind: type[Placed]) -> dict[ArmPlace, Placed]:
        return {place: found[-1] for place, found in all_of(kind).items()}

    def all_of(kind: type[Placed]) -> dict[ArmPlace, list[Placed]]:
        found: dict[ArmPlace, list[Placed]] = {}
        for record in records_of(by_kind.get(kind.__name__, []), kind):
            found.setdefault(ArmPlace(record.variant, record.seed, record.arm), []).append(record)
        return found

    steps = _steps(by_kind.get("StepTaken", []))
    changes = _by_place(by_kind.get("WeightChange", []))
    finals = _by_place(by_kind.get("FinalWeights", []))
    evaluations, text, plan_changes = all_of(Evaluation), all_of(Continuation), all_of(PlanChanged)
    true_text, by_frequency = all_of(TrueContinuation), all_of(LossByFrequency)
    watched, frozen, finished, failed = last(WatchedMatrices), last(FrozenChecked), last(ArmFinished), last(ArmFailed)
    runs = {}
    for place, started in last(ArmStarted).items():
        variant, seed, _ = place
        taken = steps.get(place, ())
        runs[place] = ArmRun(
            seed=seed,
            started=started,
            steps=taken,
            losses=np.array([step.loss_nats for step in taken], dtype=np.float64),
            seconds=np.array([step.seconds for step in taken], dtype=np.float64),
            timed=np.array([not step.untimed and math.isfinite(step.seconds) for step in taken], dtype=np.bool_),
            held_out=_evaluations(evaluations.get(place, []), "held_out"),
            retention=_evaluations(evaluations.get(place, []), "retention"),
            trained=_evaluations(evaluations.get(place, []), "trained"),
            held_out_windows=_windows(evaluations.get(place, [])),
            window_predictions=_window_predictions(evaluations.get(place, [])),
            by_frequency={one.step: one for one in by_frequency.get(place, [])},
            watched=watched.get(place),
            change_steps=np.array([line["step"] for line in changes.get(place, [])], dtype=np.int64),
            changes=_table(line["change"] for line in changes.get(place, [])),
            final=_final(finals.get(place, [])),
            text=_by_prompt(text.get(place, [])),
            text_before=_by_prompt(text.get(ArmPlace(variant, seed, ""), [])),
            true_text=_by_prompt(true_text.get(ArmPlace(variant, seed, ""), [])),
            plan_changes=tuple(plan_changes.get(place, [])),
            frozen=frozen.get(place),
            finished=finished.get(place),
            failed=failed.get(place),
        )
    return runs


def _steps(lines: list[Line]) -> dict[ArmPlace, tuple[StepTaken, ...]]:
    found: dict[ArmPlace, list[StepTaken]] = {}
    for step in records_of(lines, StepTaken):
        found.setdefault(ArmPlace(step.variant, step.seed, step.arm), []).append(step)
    return {place: tuple(steps) for place, steps in found.items()}


def _by_place(lines: Iterable[Line]) -> dict[ArmPlace, list[Line]]:
    found: dict[ArmPlace, list[Line]] = {}
    for line in lines:
        found.setdefault(ArmPlace(str(line["variant"]), int(str(line["seed"])), str(line["arm"])), []).append(line)
    return found


def _evaluations(records: list[Evaluation], corpus: str) -> dict[int, float]:
    return {record.step: record.loss_nats for record in records if record.corpus == corpus}


def _windows(records: list[Evaluation]) -> dict[int, Floats]:
    return {
        record.step: np.array(record.window_losses, dtype=np.float64)
        for record in records
        if record.corpus == "held_out" and record.window_losses
    }


def _window_predictions(records: list[Evaluation]) -> Floats:
    counts = [record.window_predictions for record in records if record.corpus == "held_out"]
    return np.array(counts[-1] if counts else [], dtype=np.float64)


def _by_prompt(records: list[Written]) -> tuple[Written, ...]:
    return tuple(sorted(records, key=lambda record: record.prompt_index))


def _final(lines: list[Line]) -> dict[str, Floats]:
    if not lines:
        return {}
    names = ("norm", "drift", "relative_drift", "stable_rank")
    return {name: np.array(lines[-1][name], dtype=np.float64) for name in names}


def _table(rows: Iterable[object]) -> Floats:
    """Lists of numbers as rows; null becomes NaN."""
    found = np.array(list(rows), dtype=np.float64)
    return found if found.ndim == 2 else np.empty((0, 0))
