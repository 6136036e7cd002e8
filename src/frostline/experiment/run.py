"""Where does an experiment run? Here, in this process: prepare, train every replicate, summarise, report.

Nothing is written to the run folder before model, corpus and plans of every variant are known to be right. A run that
was stopped or killed goes on from what it left: the journal says what is done, checkpoints where the rest begins.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache as remember
from pathlib import Path

from pydantic import TypeAdapter

from frostline import __version__
from frostline.arms import (
    MemoryMeasure,
    Prepared,
    facts_of,
    measure_peak_memory,
    prepare,
    run_folder_bytes,
    shared_parts,
)
from frostline.errors import CacheError, FrostlineError, TrainingError
from frostline.experiment.arm_in_training import Replicate, Saving
from frostline.experiment.arm_store import ArmStore, open_arm_store
from frostline.experiment.checkpoints import TRAINING_FOLDER
from frostline.experiment.measuring import evaluate_everywhere
from frostline.experiment.replicate import run_replicate
from frostline.experiment.resume import (
    NOTHING,
    Left,
    changes_since,
    read_left,
    recorded_recipe,
    require_accepted,
    require_same_recipe,
    standing,
)
from frostline.interruption import Interruption, Stopped
from frostline.machine import describe_machine
from frostline.progress import RunProgress
from frostline.recipe import Recipe, Variant, dump_recipe, recipe_hash, variants_of
from frostline.run_folder import (
    CHECKPOINT_FOLDER,
    RECIPE_FILE,
    Journal,
    PeakMemory,
    Recorder,
    RunEnded,
    RunResumed,
    RunStarted,
    begin_session,
    end_session,
    refuse_existing,
    require_same_facts,
    run_lock,
)
from frostline.storage import disk_trouble, replace_file, require_room


@dataclass(frozen=True)
class RunResult:
    run_folder: Path
    status: str
    """`finished` or `interrupted`."""
    exit_code: int = 0
    """130 or 143 where a signal stopped it."""


@dataclass(frozen=True)
class _Work:
    """What this process does for a run, and where it goes."""

    run_folder: Path
    cache: Path
    recorder: Recorder
    progress: RunProgress
    left: Left
    fresh: bool
    retry_failed: bool
    started_at: str
    saving: Saving


def run_experiment(
    recipe: Recipe, run_folder: Path, cache: Path, progress: RunProgress, *, fresh: bool = False
) -> RunResult:
    """Run `recipe` and leave its journal in `run_folder`, which must not exist.

    An arm that an earlier run trained in exactly this way is taken from there, unless `fresh`. Ctrl+C and SIGTERM save
    and end the run cleanly. Raises `FrostlineError` for what the user can mend.
    """
    if run_folder.exists() and (run_folder / RECIPE_FILE).exists():
        refuse_existing(run_folder)
    standing(run_folder)
    interruption = Interruption()
    try:
        with interruption.listening():
            prepared = _prepare_all(variants_of(recipe), cache, progress, run_folder, NOTHING)
            _make_folder(run_folder)
            with run_lock(run_folder, progress.say):
                _write_recipe(run_folder, recipe)
                return _work(recipe, run_folder, cache, progress, interruption, prepared, fresh=fresh)
    except Stopped as stopped:
        progress.say("Stopped before training began.")
        return RunResult(run_folder, "interrupted", stopped.exit_code)


def resume_experiment(
    run_folder: Path,
    cache: Path,
    progress: RunProgress,
    *,
    recipe: Recipe | None = None,
    retry_failed: bool = False,
    accept_changes: bool = False,
) -> RunResult:
    """Go on with the run in `run_folder`; `recipe`, if given, must be the one that it was begun with.

    Only settings of checkpoints may be others. Finished arms are not touched, failed ones tried again only if
    `retry_failed`. Raises `FrostlineError` where it is no run, another process writes there, or conditions have
    changed in a way that is refused; see `launch.resume`.
    """
    interruption = Interruption()
    try:
        with interruption.listening(), run_lock(run_folder, progress.say):
            if recipe is None:
                recipe = recorded_recipe(run_folder)
            else:
                require_same_recipe(run_folder, recipe)
            if standing(run_folder) == "finished" and not retry_failed:
                progress.say("The run has finished: nothing is left to do.")
                return RunResult(run_folder, "finished")
            left = read_left(run_folder)
            changes = [] if left.started is None else changes_since(left.started, describe_machine())
            require_accepted(run_folder, changes, accept_changes)
            prepared = _prepare_all(variants_of(recipe), cache, progress, run_folder, left)
            return _work(
                recipe, run_folder, cache, progress, interruption, prepared,
                left=left, changes=changes, retry_failed=retry_failed,
            )  # fmt: skip
    except Stopped as stopped:
        progress.say("Stopped before training went on.")
        return RunResult(run_folder, "interrupted", stopped.exit_code)


def _work(
    recipe: Recipe,
    run_folder: Path,
    cache: Path,
    progress: RunProgress,
    interruption: Interruption,
    prepared: Prepared,
    *,
    left: Left = NOTHING,
    changes: Sequence[str] = (),
    fresh: bool = False,
    retry_failed: bool = False,
) -> RunResult:
    """Do what is left of the run; the lock is held, and everything is checked."""
    variants = variants_of(recipe)
    session = begin_session(run_folder)
    began, saving = time.monotonic(), Saving()
    with Journal(run_folder, [variant.label for variant in variants]) as journal:
        recorder = Recorder(journal, interruption)
        journal.cut_run_file(left.bytes_kept)
        status, exit_code = "finished", 0
        started = left.started
        try:
            if started is None:
                started = RunStarted(__version__, recipe_hash(recipe), _now(), describe_machine(), fresh)
                recorder.append(started)
            if changes:
                recorder.append(RunResumed(_now(), list(changes)))
                progress.say("Going on under other conditions: " + "; ".join(changes))
            work = _Work(run_folder, cache, recorder, progress, left, started.fresh, retry_failed, started.at, saving)
            for index, variant in enumerate(variants):
                if prepared.variant != variant.label:
                    prepared = _prepare(variant, cache, progress, run_folder, left)
                _run_variant(prepared, index, work)
        except Stopped as stopped:
            interruption.answer()
            status, exit_code = "interrupted", stopped.exit_code
            progress.say(f"Stopped. Go on with: frostline resume {run_folder}")
        spent = time.monotonic() - began
        recorder.append(RunEnded(status, _now(), session.seconds_before + spent))
        end_session(run_folder, status, saving.checkpoints, saving.seconds, spent)
    if status == "finished":
        for folder in (run_folder / CHECKPOINT_FOLDER / TRAINING_FOLDER, run_folder / CHECKPOINT_FOLDER):
            with suppress(OSError):
                folder.rmdir()  # unless something lies there: trained models, checkpoints of failed arms
    return RunResult(run_folder, status, exit_code)


def _prepare_all(
    variants: Sequence[Variant], cache: Path, progress: RunProgress, run_folder: Path, left: Left
) -> Prepared:
    """Check every variant; returns the first one's preparation, so that most experiments load their model once."""
    first = _prepare(variants[0], cache, progress, run_folder, left)
    for variant in variants[1:]:
        _prepare(variant, cache, progress, run_folder, left)
    return first


def _prepare(variant: Variant, cache: Path, progress: RunProgress, run_folder: Path, left: Left) -> Prepared:
    """Load and check one variant: that the disk has room for it, and that it is what it was when the run was begun."""
    try:
        prepared = prepare(variant, cache, say=progress.say, reading=progress.reading)
    except FrostlineError as error:
        if not variant.label:
            raise
        raise type(error)(f"vary {variant.label}: {error.message}", error.hint) from error
    require_room(run_folder, run_folder_bytes(prepared), "the run, with its checkpoints,")
    then = left.variants.get(variant.label)
    if then is None:
        return prepared
    require_same_facts(run_folder, then, facts_of(prepared))
    return replace(prepared, schedule=then.schedule)


def _make_folder(run_folder: Path) -> None:
    try:
        # An empty folder is what a process leaves that was killed before its first file.
        run_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_trouble(error, run_folder) from error


def _write_recipe(run_folder: Path, recipe: Recipe) -> None:
    try:
        replace_file(run_folder / RECIPE_FILE, dump_recipe(recipe).encode())
    except OSError as error:
        raise disk_trouble(error, run_folder) from error


def _run_variant(prepared: Prepared, index: int, work: _Work) -> None:
    recorder, progress = work.recorder, work.progress
    if prepared.variant not in work.left.variants:
        recorder.append(facts_of(prepared))
    store = None if work.fresh else open_arm_store(prepared, work.cache, work.started_at)
    untouched_losses = remember(lambda: evaluate_everywhere(prepared, prepared.model))
    with shared_parts(prepared, work.cache) as sharing:
        for seed in prepared.recipe.seeds:
            replicate = Replicate(
                sharing,
                seed,
                recorder,
                progress,
                work.run_folder,
                untouched_losses,
                store,
                work.retry_failed,
                work.saving,
            )
            run_replicate(replicate)
    if not prepared.recipe.measures.memory:
        return
    for arm in prepared.recipe.arms:
        if (prepared.variant, arm) in work.left.memory:
            continue
        try:
            measured = _measure_memory(prepared, arm, index, progress, work.run_folder, work.cache, store)
        except TrainingError as error:
            progress.say(f"Not measured: {error}")
            continue
        recorder.append(PeakMemory(prepared.variant, arm, measured.method, measured.peak_bytes, measured.model_bytes))


def _measure_memory(
    prepared: Prepared,
    arm: str,
    index: int,
    progress: RunProgress,
    run_folder: Path,
    cache: Path,
    store: ArmStore | None,
) -> MemoryMeasure:
    """Peak memory of `arm`; what an earlier run measured for exactly this arm is as good."""
    key = None if store is None else store.key(prepared, arm, prepared.recipe.seeds[0], what="memory")
    known = None if store is None or key is None else store.find(key)
    if known is not None:
        return TypeAdapter(MemoryMeasure).validate_python(known.lines[0])
    progress.say(f"Memory of {arm}, alone in a process of its own")
    measured = measure_peak_memory(
        run_folder / RECIPE_FILE, index, arm, cache, trusted_code=prepared.recipe.model.trusted_code
    )
    if store is not None and key is not None:
        try:
            store.keep(key, json.dumps(asdict(measured)).encode())
        except CacheError as error:
            progress.say(f"Not kept for later runs: {error}")
    return measured


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
