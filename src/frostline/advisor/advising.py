"""Where should this model be trained? Looks inside it, prices plans, races those that keep the budget, recommends.

Whatever has been found stands in the journal of the advice folder: an advice that was stopped or killed goes on with
the first trial that is not recorded there, and ends as it would have ended.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from frostline import __version__
from frostline.advisor.advice import Advice, candidates_frame, read_advice, trials_frame
from frostline.advisor.budget import UNLIMITED, Budget
from frostline.advisor.candidates import full_training
from frostline.advisor.priced_candidates import priced_candidates
from frostline.advisor.racing import race_control, retrain, run_race
from frostline.advisor.recommendation import Recommendation, recommend
from frostline.advisor.recommended import recommended_recipe
from frostline.advisor.signal_scores import steadiness_of
from frostline.advisor.trial import deciding_windows
from frostline.advisor.trials import Advised, Elsewhere, Here, Trials
from frostline.arms import Prepared, doubt_of_repeats, facts_of, pinned, prepare, prepared_by_all, require_first_step
from frostline.engine import ALONE, World, settle_device
from frostline.errors import FrostlineError, RunFolderError
from frostline.interruption import Interruption, Stopped
from frostline.machine import describe_machine
from frostline.moments import moment_now
from frostline.progress import RunProgress
from frostline.recipe import (
    PLACE_FILE,
    Recipe,
    ResourceSettings,
    Variant,
    dump_recipe,
    place_content,
    recipe_hash,
    require_signal,
)
from frostline.run_folder import (
    JOURNAL_FOLDER,
    RECIPE_FILE,
    RUN_FILE,
    SESSIONS_FILE,
    AdviceEnded,
    AdviceStarted,
    CandidateMade,
    Journal,
    Record,
    SignalMeasured,
    VariantPrepared,
    begin_session,
    changes_of_machine,
    read_lines,
    require_same_facts,
    run_lock,
)
from frostline.signals import ADVISING, Signal, signal_inputs_of, signals_of
from frostline.storage import LOCK_FILE, disk_trouble, replace_file

RECOMMENDED_FILE = "recommended.yaml"
LONGEST_RACE = 36
"""Steps of the last rung, unless the recipe or the command line asks for fewer, or the command line for more."""


@dataclass(frozen=True)
class AdviceResult:
    """What became of an advice."""

    folder: Path
    """Folder of the advice; `recommended.yaml` in it is the recipe that is recommended."""
    status: str
    """`finished` or `interrupted`; `followed` in a process that torchrun has started beside that of rank 0."""
    exit_code: int
    """Exit code of the command: 0; 1 where every trial failed; 130 or 143 where a signal stopped it."""
    recommendation: Recommendation | None = None
    """The plan to train by, and how sure that is; None where every trial failed, or a signal stopped it."""
    advice: Advice | None = None
    """Signals, candidates and trials; None where a signal stopped it."""
    page: Path | None = None
    """Path of its page, where one was written."""

    def candidates(self) -> pl.DataFrame:
        """One row a plan that was priced: candidate, plan, origin, trained_parameters, prefix_layers, ceiling,
        expected_seconds, expected_seconds_cached, expected_peak_bytes, exceeds (the limits that it does not keep)."""
        return candidates_frame(self.advice)

    def trials(self) -> pl.DataFrame:
        """One row a trial: rung (one more than the last: with new seeds), candidate, learning_rate, steps, loss_nats
        (on the windows that decide), held_out_loss_nats (from the last rung on), cause (why it failed, else ''),
        seconds (of a step), seed."""
        return trials_frame(self.advice)


def advise(
    recipe: Recipe,
    folder: Path,
    cache: Path,
    progress: RunProgress,
    *,
    budget: Budget = UNLIMITED,
    steps: int | None = None,
    signals: Sequence[str] = ADVISING,
    interruption: Interruption | None = None,
    world: World = ALONE,
    elsewhere: Elsewhere | None = None,
) -> AdviceResult:
    """Advise on `recipe`, whose own arms are left aside; leave everything in `folder`, or go on with what is there.

    A signal that `interruption` listens to ends it at once (without one, none is handled); the trial that runs is tried
    again. Raises `FrostlineError` for what the user can fix, such as a budget that no plan keeps: then the nearest
    plan is named, and nothing recorded, so that another budget may follow in the same folder. Of `signals`, those that
    can choose a plan do. The processes of `world` compute trials together; or others compute them,
    whom `elsewhere` gives them to.
    """
    for name in signals:
        require_signal(name)
    last = min(recipe.training.steps, LONGEST_RACE) if steps is None else steps
    interruption = interruption or Interruption()
    was_there = folder.exists()
    try:
        _make_folder(folder)
        with run_lock(folder, progress.say):
            asked = _Asked(recipe, folder, cache, progress, interruption, budget, last, signals, world, elsewhere)
            return _advise(asked)
    except Stopped as stopped:
        interruption.answer()
        progress.say(f"Stopped. Go on with the same command: {folder} keeps what was found.")
        return AdviceResult(folder, "interrupted", stopped.exit_code)
    except FrostlineError:
        if not was_there:
            with contextlib.suppress(OSError):  # something is recorded in it
                folder.rmdir()
        raise


@dataclass(frozen=True)
class _Asked:
    """What an advice is asked for."""

    recipe: Recipe
    folder: Path
    cache: Path
    progress: RunProgress
    interruption: Interruption
    budget: Budget
    last: int
    """Steps of the last rung."""
    names: Sequence[str]
    """Signals that are measured."""
    world: World
    elsewhere: Elsewhere | None


def _advise(asked: _Asked) -> AdviceResult:
    """Advise, or go on with what is in the folder, whose lock is held."""
    began = time.monotonic()
    folder, cache, progress, own = asked.folder, asked.cache, asked.progress, _full_training_of(asked.recipe)
    settle_device(own.training.device)
    left = _read_left(folder, own, asked.budget, asked.last, asked.names)
    prepared, facts, trials = _prepare(asked, own, None if left is None else left.facts)
    session = begin_session(folder)
    inputs = signal_inputs_of(
        prepared.model,
        prepared.corpus,
        device=prepared.device,
        precision=prepared.precision,
        identity=prepared.identity,
    )
    signals = signals_of(inputs, cache, asked.names, say=progress.say)
    candidates: list[CandidateMade] = []
    if left is None or not left.trials:  # a process that was killed may have recorded only some of them
        candidates = priced_candidates(prepared, inputs, signals, cache, asked.budget, progress)
    interruption = asked.interruption
    with Journal(folder, interruption=interruption) as journal, journal.as_long_as(prepared.require_unchanged):
        if left is None:
            left = Advice(_started(folder, own, asked.budget, asked.last))
            journal.append(left.started)
        advice = left

        def record(found: Record) -> None:
            with interruption.deferred():
                journal.append(found)
                advice.add(found)

        if advice.facts is None:
            record(facts)
        unrecorded = list(signals.values())[len(advice.signals) :]
        steadiness = steadiness_of(unrecorded, inputs, cache, progress.say)
        for signal in unrecorded:
            record(_record_of(signal, steadiness[signal.kind.name]))
        for made in candidates:
            if made.candidate not in advice.candidates:
                record(made)
        if (doubt := doubt_of_repeats(prepared)) is not None:
            progress.say(doubt)
        with _quick_collections():
            run_race(prepared, advice, record, progress, trials)
            race_control(prepared, inputs, advice, record, progress, trials)
            retrain(prepared, advice, record, progress, trials)
        if advice.ended is None:
            record(AdviceEnded("finished", moment_now(), session.seconds_before + time.monotonic() - began))
        recommendation = recommend(advice.trials, advice.candidates)
    if recommendation is not None:
        # Its paths are relative to what the place file beside it names, as those of the advice's own recipe.
        _write(folder / RECOMMENDED_FILE, dump_recipe(recommended_recipe(asked.recipe, advice, recommendation)))
    return AdviceResult(folder, "finished", 0, recommendation, advice)


def _full_training_of(recipe: Recipe) -> Recipe:
    """`recipe` with full training for its only arm, and without what changes no trial."""
    full = full_training()
    return recipe.model_copy(
        update={
            "arms": {full.name: full.arm},
            "baseline": full.name,
            "save": (),
            "vary": {},
            "retention": "none",
            "resources": ResourceSettings(),  # another process may compute trials elsewhere
            "training": recipe.training.of_steps(recipe.training.steps),
        }
    )


def _prepare(asked: _Asked, own: Recipe, begun: VariantPrepared | None) -> tuple[Prepared, VariantPrepared, Trials]:
    """Model and corpus of `own`, as the advice was `begun` with them, their facts, and who computes trials."""
    with own.locating_errors():
        wanted = Variant("", own) if begun is None else pinned(Variant("", own), begun)
        prepared = prepare(wanted, asked.cache, say=asked.progress.say, reading=asked.progress.reading)
        prepared = prepared_by_all(prepared, asked.world)
        require_first_step(prepared)
        deciding = deciding_windows(prepared, asked.last)
    facts = facts_of(prepared)
    if begun is not None:
        require_same_facts(asked.folder, begun, facts)
    if asked.elsewhere is None:
        return prepared, facts, Here(deciding, asked.cache)
    return prepared, facts, asked.elsewhere(Advised(asked.folder, own, facts, asked.last))


def _started(folder: Path, recipe: Recipe, budget: Budget, last: int) -> AdviceStarted:
    """The first record of an advice, whose recipe is now in `folder`."""
    _write(folder / PLACE_FILE, place_content(folder, recipe.place).decode())
    _write(folder / RECIPE_FILE, dump_recipe(recipe))
    return AdviceStarted(
        frostline_version=__version__,
        recipe_sha256=recipe_hash(recipe),
        at=moment_now(),
        environment=describe_machine(),
        budget=budget.text,
        steps=last,
        seed=recipe.seeds[0],
        run_steps=recipe.training.steps,
    )


@contextmanager
def _quick_collections() -> Iterator[None]:
    """Each trial collects what it leaves; what was there before it, such as every imported module, is passed over."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _read_left(folder: Path, recipe: Recipe, budget: Budget, last: int, names: Sequence[str]) -> Advice | None:
    """What an earlier process left, a torn last line cut off. Raises `RunFolderError` where it is of another advice."""
    if (folder / RECIPE_FILE).exists() and not (folder / JOURNAL_FOLDER).is_dir():
        return None
    if not (folder / JOURNAL_FOLDER).is_dir():
        others = [
            path.name
            for path in folder.iterdir()
            if path.name not in (LOCK_FILE, PLACE_FILE, RECIPE_FILE, SESSIONS_FILE)
        ]
        if any(not name.startswith(".") for name in others):
            raise RunFolderError(f"{folder}: there is something else ('{others[0]}').", "Choose another with --out.")
        return None
    left = read_advice(folder)
    lines, ends = read_lines(folder, RUN_FILE)
    if lines and left is None:
        raise RunFolderError(f"{folder} is the folder of a run, not of an advice.", "Choose another with --out.")
    with Journal(folder) as journal:
        journal.cut_run_file(ends[-1] if ends else 0)
    if left is None:
        return None
    wanted = (recipe_hash(recipe), budget.text, last)
    before = (left.started.recipe_sha256, left.started.budget, left.started.steps)
    for what, then, now in zip(("recipe", "budget", "number of steps"), before, wanted, strict=True):
        if then != now:
            shown = "" if what == "recipe" else f": '{then}' then, '{now}' now"
            raise RunFolderError(
                f"{folder}: its advice was begun with another {what}{shown}.", "Choose another folder with --out."
            )
    measured = [signal.signal for signal in left.signals]
    wanted_signals = list(names) if left.candidates else list(names)[: len(measured)]
    if measured != wanted_signals:
        raise RunFolderError(
            f"{folder}: its advice was begun with other signals: {', '.join(measured)}.",
            "Choose another folder with --out.",
        )
    changes = changes_of_machine(left.started.environment, describe_machine())
    if changes:
        raise RunFolderError(
            f"{folder}: since it was begun, {'; '.join(changes)}: trials would no longer be comparable.",
            "Begin anew in another folder with --out.",
        )
    return left


def _record_of(signal: Signal, steadiness: float | None) -> SignalMeasured:
    return SignalMeasured(
        signal.kind.name,
        [layer for layer, _ in signal.values],
        [role for _, role in signal.values],
        list(signal.values.values()),
        steadiness,
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_trouble(error, folder) from error


def _write(path: Path, text: str) -> None:
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise disk_trouble(error, path) from error
