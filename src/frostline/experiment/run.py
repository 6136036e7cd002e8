"""Where does an experiment run? Here, in this process: prepare, train every replicate, summarise, report.

Nothing is written to the run folder before model, corpus and plans of every variant are known to be right. A run that
was stopped or killed goes on from what it left: the journal says what is done, checkpoints where the rest begins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from frostline import __version__
from frostline.arms import (
    Prepared,
    doubt_of_repeats,
    facts_of,
    is_to_be_sharded,
    leave_device,
    shared_parts,
)
from frostline.engine import ALONE, World, give_back_freed_memory, settle_device
from frostline.experiment.arm_in_training import fail_before_training, fail_where_killed
from frostline.experiment.arm_store import open_arm_store
from frostline.experiment.checkpoints import TRAINING_FOLDER, Saving
from frostline.experiment.filling import Filling
from frostline.experiment.measuring import UntouchedLosses, reads_an_epoch
from frostline.experiment.peaks import record_peaks
from frostline.experiment.rates import Race, Raced, at_rates, settle_rates
from frostline.experiment.replicate import Replicate, expect_nothing_of, how_complete
from frostline.experiment.resume import (
    NOTHING,
    PROCESSES,
    SHARDING,
    Left,
    changes_of_processes,
    read_left,
    recorded_recipe,
    require_accepted,
    require_as_sharded,
    require_same_recipe,
    standing,
)
from frostline.experiment.time_left import TimeLeft, expect_run
from frostline.experiment.train import run_replicate
from frostline.experiment.units import Head, Part, Tail, Unit, group_of
from frostline.experiment.variants import Variants
from frostline.interruption import Interruption, Stopped
from frostline.machine import describe_machine
from frostline.moments import moment_now
from frostline.progress import RunProgress
from frostline.recipe import PLACE_FILE, Recipe, dump_recipe, place_content, recipe_hash
from frostline.run_folder import (
    CHECKPOINT_FOLDER,
    RECIPE_FILE,
    AtWork,
    Journal,
    RunEnded,
    RunResumed,
    RunStarted,
    StepsSettled,
    begin_session,
    end_session,
    refuse_existing,
    run_lock,
)
from frostline.storage import disk_trouble, replace_file


@dataclass(frozen=True)
class RunResult:
    run_folder: Path
    status: str
    """`finished` or `interrupted`."""
    exit_code: int = 0
    """130 or 143 where a signal stopped it."""


def run_experiment(
    recipe: Recipe,
    run_folder: Path,
    cache: Path,
    progress: RunProgress,
    *,
    fresh: bool = False,
    interruption: Interruption | None = None,
    world: World = ALONE,
    only: Part | None = None,
) -> RunResult:
    """Run `recipe` and leave its journal in `run_folder`, which must not exist.

    An arm that an earlier run trained in exactly this way is taken from there, unless `fresh`. Signals that
    `interruption` listens to save and end the run cleanly; without one, none is handled, so that a run may go on in
    any thread. The processes of `world` compute arms together. Of the experiment no more is done than the part `only`,
    if one is named (`experiment.units`). Raises `FrostlineError` for what the user can fix.
    """
    if run_folder.exists() and (run_folder / RECIPE_FILE).exists():
        refuse_existing(run_folder)
    standing(run_folder)
    interruption = interruption or Interruption()
    try:
        left = replace(NOTHING, fresh=fresh)
        sharded = is_to_be_sharded(recipe, cache, world, progress.say)
        variants = Variants(recipe, cache, progress, run_folder, left, world, only, sharded=sharded)
        variants.check()
        _make_folder(run_folder)
        with run_lock(run_folder, progress.say, stops=interruption.is_listening):
            if standing(run_folder) != "nothing":  # another process began, and may have ended, while this one prepared
                refuse_existing(run_folder)
            write_recipe(run_folder, recipe)
            return _work(variants, interruption)
    except Stopped as stopped:
        interruption.answer()
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
    interruption: Interruption | None = None,
    world: World = ALONE,
    only: Part | None = None,
    accepted: Callable[[], None] = lambda: None,
) -> RunResult:
    """Go on with the run in `run_folder`; `recipe`, if given, must be the one that it was begun with.

    Only settings of checkpoints may be others. Finished arms are not touched, failed ones tried again only if
    `retry_failed`. `accepted` is called once nothing refuses to go on any more, with the lock held. The rest is as in
    `run_experiment`. Raises `FrostlineError` where it is no run, another process writes there, or conditions have
    changed in a way that is refused; see `experiment.resume`.
    """
    interruption = interruption or Interruption()
    try:
        with run_lock(run_folder, progress.say, stops=interruption.is_listening):
            if recipe is None:
                recipe = recorded_recipe(run_folder)
            else:
                require_same_recipe(run_folder, recipe)
            if standing(run_folder) == "finished" and not retry_failed:
                progress.say("The run has finished: nothing is left to do.")
                return RunResult(run_folder, "finished")
            settle_device(recipe.training.device)
            left = read_left(run_folder)
            if left.started is None:
                sharded = is_to_be_sharded(recipe, cache, world, progress.say)
            else:
                sharded = SHARDING in left.started.environment
                require_as_sharded(run_folder, left.started, world)
            left = replace(left, changes=(*left.changes, *changes_of_processes(left.started, world.size)))
            require_accepted(run_folder, left.changes, accept_changes)
            variants = Variants(recipe, cache, progress, run_folder, left, world, only, sharded=sharded)
            variants.check()
            accepted()
            _write_place(run_folder, recipe)  # it may have been moved
            return _work(variants, interruption, retry_failed=retry_failed)
    except Stopped as stopped:
        interruption.answer()
        progress.say("Stopped before training went on.")
        return RunResult(run_folder, "interrupted", stopped.exit_code)


def _work(variants: Variants, interruption: Interruption, *, retry_failed: bool = False) -> RunResult:
    """Do what is left of the run; the lock is held, and everything is checked."""
    run_folder, progress, left = variants.run_folder, variants.progress, variants.left
    session = begin_session(run_folder)
    began, saving = time.monotonic(), Saving()
    labels, only = [variant.label for variant in variants.all], variants.only
    with Journal(run_folder, variants.labels, interruption) as journal, AtWork(run_folder) as at_work:
        time_left = TimeLeft(_telling(progress.left, at_work.expects), begins=at_work.begins)
        journal.cut_run_file(left.bytes_kept)
        status, exit_code = "finished", 0
        try:
            started = left.started
            if started is None:
                sha256 = recipe_hash(variants.recipe)
                started = RunStarted(__version__, sha256, moment_now(), _environment(variants), left.fresh)
                journal.append(started)
            if variants.changes:
                journal.append(RunResumed(moment_now(), list(variants.changes)))
                progress.say("Going on under other conditions: " + "; ".join(variants.changes))
            if not variants.world.alone:
                shared = "hold and compute" if variants.sharded else "compute"
                progress.say(f"{variants.world.size} processes {shared} each arm together")
            own_seed = only.seed if isinstance(only, Unit) else None
            expect_run(time_left, variants.prepared(variants.all[0]), labels, own_seed)
            for variant in variants.all:
                prepared = variants.prepared(variant)
                if variant.label not in left.variants:
                    journal.append(facts_of(prepared))
                for arm, own in variants.settled.get(variant.label, {}).items():
                    journal.append(StepsSettled(variant.label, arm, own.steps, own.seconds_per_step))
                store = (
                    None
                    if left.fresh
                    else open_arm_store(prepared, variants.cache, started.at, group_of(only, variants.recipe))
                )
                base = Replicate(
                    prepared,
                    variant.recipe.seeds[0],
                    journal,
                    progress,
                    UntouchedLosses(prepared),
                    store,
                    retry_failed,
                    conditions_changed=bool(variants.changes) or left.went_on_changed,
                    saving=saving,
                    time_left=time_left,
                )
                _answer_kill(base, at_work)
                with journal.as_long_as(prepared.require_unchanged):
                    settled = leave_device(_run_sharing(base, left, variants.cache, only))
                measures_memory = variant.recipe.measures.memory and (only is None or isinstance(only, Tail))
                if measures_memory and prepared.is_sharded:
                    progress.say("Memory is not measured: no process has an arm alone")
                elif measures_memory:
                    known = {arm for label, arm in left.memory if label == variant.label}
                    record_peaks(settled, known, variants.cache, journal, store, progress, time_left)
        except Stopped as stopped:
            interruption.answer()
            status, exit_code = "interrupted", stopped.exit_code
            progress.say(f"Stopped. Go on with: frostline resume {run_folder}")
        spent = time.monotonic() - began
        journal.append(RunEnded(status, moment_now(), session.seconds_before + spent))
        end_session(run_folder, status, saving.checkpoints, saving.seconds, spent)
    if status == "finished":
        for folder in (run_folder / CHECKPOINT_FOLDER / TRAINING_FOLDER, run_folder / CHECKPOINT_FOLDER):
            with suppress(OSError):
                folder.rmdir()  # unless something lies there: trained models, checkpoints of failed arms
    return RunResult(run_folder, status, exit_code)


def _telling(*those: Callable[[float], None]) -> Callable[[float], None]:
    """Tells all of them how many seconds are left."""

    def tell(seconds: float) -> None:
        for one in those:
            one(seconds)

    return tell


def _answer_kill(base: Replicate, at_work: AtWork) -> None:
    """Say that the process before was killed for want of memory, and give its arm up the second time in one place."""
    killed, variant = at_work.killed, base.prepared.variant
    if killed is None or killed.place.variant != variant:
        return
    arm, seed = killed.place.arm, killed.place.seed
    of_arm = arm in base.prepared.arms and seed in base.prepared.recipe.seeds
    where = f" while it was at arm {arm}, seed {seed}" if of_arm else ""
    if not of_arm or killed.times < 2:
        base.progress.say(f"The system has killed the process before this one{where}, it seems for want of memory.")
        return
    at_work.forget()
    replicate = replace(base, seed=seed)
    if how_complete(replicate, arm) == "begun" and not base.retry_failed:
        times = "twice" if killed.times == 2 else f"{killed.times} times"
        cause = (
            f"out of memory: the system killed the process {times} at the same place{where}, it seems for want of it"
        )
        fail_where_killed(replicate, arm, cause)


def _run_sharing(base: Replicate, left: Left, cache: Path, only: Part | None) -> Prepared:
    """Run the variant of `base`, or its part `only`, with what its arms share, which is gone afterwards."""
    if isinstance(only, Tail) or (isinstance(only, Head) and not any(arm.raced for arm in base.prepared.arms.values())):
        return _at_known_rates(base.prepared, left)
    filled = {own.layer: own.seconds for own in left.layers_filled if own.variant == base.prepared.variant}
    with shared_parts(base.prepared, cache) as sharing:
        if (doubt := doubt_of_repeats(sharing)) is not None:
            base.progress.say(doubt)
        filling = Filling(sharing, base.journal, base.progress, base.time_left, filled)
        losses = UntouchedLosses(sharing, trained=any(reads_an_epoch(sharing, arm) for arm in sharing.arms))
        base = replace(base, prepared=sharing, untouched_losses=losses)
        settled = _run_variant(replace(base, fill=filling.ensure, fill_seconds=filling.seconds_below), left, only)
    give_back_freed_memory()  # the report is drawn by libraries with an allocator of their own
    return replace(settled, shared=None)


def _at_known_rates(prepared: Prepared, left: Left) -> Prepared:
    """The arms at the rates that were raced before; those that found none are left out."""
    chosen = {one.arm: one.learning_rate for one in left.rates_chosen if one.variant == prepared.variant}
    raced = {name for name, arm in prepared.arms.items() if arm.raced}
    return at_rates(prepared, {arm: rate for arm, rate in chosen.items() if arm in raced}, raced - chosen.keys())


def _run_variant(base: Replicate, left: Left, only: Part | None) -> Prepared:
    """Race the rates that are asked for, then train every replicate; the arms come back at their rates.

    `base` is the first replicate as the recipe has it; an arm without a rate fails in all of them. A unit trains its
    own replicate, at rates that were raced before.
    """
    if isinstance(only, Unit):
        prepared = _at_known_rates(base.prepared, left)
        if prepared.arms:
            run_replicate(replace(base, seed=only.seed, prepared=prepared))
        return prepared
    replicates = [replace(base, seed=seed) for seed in base.prepared.recipe.seeds]
    for replicate in replicates:
        for arm in ("", *(name for name, own in base.prepared.arms.items() if not own.raced)):
            expect_nothing_of(replicate, arm)
    if any(planned.raced for planned in base.prepared.arms.values()):
        base.progress.left(base.time_left.seconds())
    raced = _settle_rates(replicates, left)
    for name, cause in raced.failed.items():
        base.progress.say(f"Arm {name} has no learning rate, the others go on: {cause}")
        for replicate in replicates:
            fail_before_training(replicate, name, cause)
    if not raced.prepared.arms or isinstance(only, Head):
        return raced.prepared
    replicates = [replace(own, prepared=raced.prepared) for own in replicates]
    for replicate in replicates:
        for arm in raced.prepared.arms:
            expect_nothing_of(replicate, arm)
    base.progress.left(base.time_left.seconds())
    for replicate in replicates:
        run_replicate(replicate)
    return raced.prepared


def _settle_rates(replicates: Sequence[Replicate], left: Left) -> Raced:
    """The arms at their rates. One that failed for want of a rate in an earlier process is tried again if asked for."""
    base = replicates[0]
    variant = base.prepared.variant
    chosen = [one for one in left.rates_chosen if one.variant == variant]
    given_up = [
        name
        for name, planned in base.prepared.arms.items()
        if planned.raced and not base.retry_failed and all(one.arm != name for one in chosen)
        if all(how_complete(replicate, name) == "failed" for replicate in replicates)
    ]
    race = Race(
        base.prepared,
        base.journal,
        base.progress,
        base.store,
        base.time_left,
        tried=[one for one in left.rates_tried if one.variant == variant],
        chosen=chosen,
        conditions_changed=base.conditions_changed,
        fill=base.fill,
    )
    return settle_rates(race, given_up)


def _make_folder(run_folder: Path) -> None:
    try:
        # An empty folder is what a process leaves that was killed before its first file.
        run_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_trouble(error, run_folder) from error


def _write_place(run_folder: Path, recipe: Recipe) -> None:
    try:
        replace_file(run_folder / PLACE_FILE, place_content(run_folder, recipe.place))
    except OSError as error:
        raise disk_trouble(error, run_folder) from error


def write_recipe(run_folder: Path, recipe: Recipe) -> None:
    """Write the resolved recipe, and where its folder is: with it the run is begun. Raises `RunFolderError`."""
    _write_place(run_folder, recipe)
    try:
        replace_file(run_folder / RECIPE_FILE, dump_recipe(recipe).encode())
    except OSError as error:
        raise disk_trouble(error, run_folder) from error


def _environment(variants: Variants) -> dict[str, str]:
    """The machine, and the processes if there are several: bits depend on their number where weights are sharded."""
    size = variants.world.size
    if variants.world.alone:
        return describe_machine()
    told = f"weights are sharded over {size} processes: the same bits again on {size}, rounding differs from one"
    return describe_machine() | {PROCESSES: str(size)} | ({SHARDING: told} if variants.sharded else {})
