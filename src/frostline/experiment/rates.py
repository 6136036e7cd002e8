"""At which learning rate does each arm train? Where the recipe says `best`, it races a few before the replicates.

All trials of a race read the same windows from the same weights, with a seed that is none of the recipe's, and are
judged on windows that no arm trains on and none is judged by. A race is an arm's own: which others there are changes
nothing. Trials are journalled one by one, so that a run that was stopped goes on with the next, and kept with the arms
for later runs.
"""

from __future__ import annotations

import gc
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from frostline.arms import (
    DIVERGED_NATS,
    PlannedArm,
    Prepared,
    choose_rate,
    forget_other_windows,
    grid_of,
    make_arm_of_base,
    next_rate,
    race_seed,
    trial_training,
)
from frostline.engine import Arm, cause_of
from frostline.errors import CacheError, DivergedError, ModelChangedError, RunFolderError, TogetherError, TrainingError
from frostline.experiment.arm_store import RACE, ArmStore
from frostline.experiment.time_left import TimeLeft, Work, of_the_race
from frostline.measures import EVALUATION_WINDOWS, evaluate_loss
from frostline.progress import RunProgress
from frostline.readable import learning_rate
from frostline.run_folder import Journal, RateChosen, RateTried, records_of

RECENT_STEPS = 3
"""Steps over whose mean a loss counts as far above where it began: one batch may be hard."""
HIGH = "Name lower rates in training.rates, or a learning_rate for the arm."


@dataclass
class Race:
    """The races of one variant: what they need, and what is known of them so far."""

    prepared: Prepared
    journal: Journal
    progress: RunProgress
    store: ArmStore | None
    time_left: TimeLeft
    tried: list[RateTried]
    """Trials that the journal holds."""
    chosen: list[RateChosen]
    """Races that have ended, of which the journal holds the outcome."""
    conditions_changed: bool = False
    """Whether the run went on under other conditions than it was begun."""
    fill: Callable[[], None] = lambda: None
    """Makes the rows that arms start from; see `Replicate.fill`."""
    untouched_loss: float = math.nan
    """Loss of the untouched model on the windows of the race; measured once, for all arms."""


@dataclass(frozen=True)
class Raced:
    """What all races of a variant came to."""

    prepared: Prepared
    """The arms at their rates; those that found none are left out."""
    failed: dict[str, str]
    """Why an arm found none, by name."""


def settle_rates(race: Race, given_up: Sequence[str] = ()) -> Raced:
    """Race the rates of every arm of which the recipe asks for the best; the others stay as they are.

    Arms that have `given_up` in an earlier process are not raced again. Raises `RunFolderError` where the disk takes no
    more.
    """
    rates: dict[str, float] = {}
    failed: dict[str, str] = {}
    _expect_what_is_left(race)
    for planned in race.prepared.arms.values():
        if not planned.raced or planned.name in given_up:
            continue
        try:
            rates[planned.name] = _race(race, planned)
        except (RunFolderError, CacheError, ModelChangedError, TogetherError):  # everyone's trouble
            raise
        except Exception as error:  # noqa: BLE001  # an arm of the user's experiment, not the experiment, has failed
            failed[planned.name] = cause_of(error)
        race.time_left.forget(of_the_race(race.prepared.variant, planned.name))
    missing = {*failed, *given_up}
    return Raced(at_rates(race.prepared, rates, missing), failed)


def _expect_what_is_left(race: Race) -> None:
    """Leave out of the time that is left what was raced already."""
    variant = race.prepared.variant
    for name, planned in race.prepared.arms.items():
        place = of_the_race(variant, name)
        ended = any(one.arm == name for one in race.chosen)
        if planned.raced and (ended or (race.store is not None and race.store.holds(_key(race, name)))):
            race.time_left.forget(place)
        for trial in race.tried:
            if trial.arm == name:
                race.time_left.skip(place, Work("step", name), trial.steps)


def at_rates(prepared: Prepared, rates: dict[str, float], missing: set[str]) -> Prepared:
    """`prepared` with arms at these rates, in its recipe too, and without the arms that are `missing` one."""
    if not rates and not missing:
        return prepared
    recipe = prepared.recipe
    settings = {
        name: own.model_copy(update={"learning_rate": rates[name]}) if name in rates else own
        for name, own in recipe.arms.items()
    }
    arms = {
        name: replace(own, learning_rate=rates.get(name, own.learning_rate))
        for name, own in prepared.arms.items()
        if name not in missing
    }
    return replace(prepared, recipe=recipe.model_copy(update={"arms": settings}), arms=arms)


def _race(race: Race, planned: PlannedArm) -> float:
    """The rate that the arm's race ends with. Raises `TrainingError` where training diverged at every rate."""
    name, prepared = planned.name, race.prepared
    ended = next((one for one in race.chosen if one.arm == name), None)
    if ended is not None:
        return ended.learning_rate
    if (known := _known(race, name)) is not None:
        return known
    race.fill()
    grid = grid_of(planned.resolved, prepared.recipe.training)
    if math.isnan(race.untouched_loss):
        race.untouched_loss = _race_loss(prepared, None)
    tried = {one.learning_rate: _loss_of(one) for one in race.tried if one.arm == name}
    while (rate := next_rate(tried, grid)) is not None:
        trial = _try(race, planned, rate)
        race.journal.append(trial)
        race.tried.append(trial)
        tried[rate] = _loss_of(trial)
        found = "diverged" if trial.diverged else f"{trial.loss_nats:.4f} nats"
        race.progress.say(f"  {name} at {learning_rate(rate)}: {found}")
    choice = choose_rate(tried)
    if choice is None:
        span = f"{len(tried)} rates raced, {learning_rate(min(tried))} to {learning_rate(max(tried))}"
        raise TrainingError(f"training diverged at each of the {span}.", HIGH)
    chosen = RateChosen(
        prepared.variant,
        name,
        choice.learning_rate,
        choice.method,
        choice.low,
        choice.high,
        untouched_loss_nats=race.untouched_loss,
    )
    _end(race, chosen)
    if not race.conditions_changed:
        _keep(race, name)
    return chosen.learning_rate


def _end(race: Race, chosen: RateChosen) -> None:
    race.journal.append(chosen)
    race.chosen.append(chosen)
    race.progress.say(f"Arm {chosen.arm} trains at {learning_rate(chosen.learning_rate)}, {chosen.method}")


def _known(race: Race, name: str) -> float | None:
    """The rate of an arm with the same settings that has raced already: in this run, or in an earlier one."""
    prepared, variant = race.prepared, race.prepared.variant
    if any(one.arm == name for one in race.tried):
        return None  # this race has begun
    arms = prepared.recipe.arms
    twin = next((one for one in race.chosen if arms[one.arm] == arms[name]), None)
    if twin is not None:
        trials = [one for one in race.tried if one.arm == twin.arm]
        return _take(race, name, trials, twin)
    kept = None if race.store is None else race.store.find(_key(race, name))
    if kept is None:
        return None
    race.progress.say(f"Arm {name}: rates raced in an earlier run ({kept.trained_by})")
    (ended,) = records_of(kept.lines, RateChosen)
    ended = replace(ended, variant=variant, reused_from=kept.trained_by)
    return _take(race, name, records_of(kept.lines, RateTried), ended)


def _take(race: Race, name: str, trials: Sequence[RateTried], ended: RateChosen) -> float:
    """Journal trials that were done for another arm, or in another run, as this arm's."""
    for trial in trials:
        own = replace(trial, variant=race.prepared.variant, arm=name)
        race.journal.append(own)
        race.tried.append(own)
    _end(race, replace(ended, arm=name))
    return ended.learning_rate


def _key(race: Race, name: str) -> str:
    assert race.store is not None
    return race.store.key(race.prepared, name, race_seed(race.prepared.recipe), what=RACE)


def _keep(race: Race, name: str) -> None:
    """Keep the arm's race for later runs."""
    if race.store is None:
        return
    records: list[RateTried | RateChosen] = [one for one in race.tried if one.arm == name]
    records += [one for one in race.chosen if one.arm == name]
    lines = [{"kind": type(one).__name__, **asdict(one)} for one in records]
    whole = [{key: None if value != value else value for key, value in line.items()} for line in lines]
    try:
        race.store.keep(_key(race, name), "".join(f"{json.dumps(line)}\n" for line in whole).encode())
    except CacheError as error:
        race.progress.say(f"Not kept for later runs: {error}")


def _try(race: Race, planned: PlannedArm, rate: float) -> RateTried:
    """Train the arm at `rate`, and judge it on the windows of the race; stopped early where it diverges."""
    prepared, name = race.prepared, planned.name
    training = trial_training(prepared.recipe.training.of_steps(planned.steps), planned.resolved)
    own = replace(prepared, recipe=prepared.recipe.model_copy(update={"training": training}))
    seed = race_seed(prepared.recipe)
    began = time.monotonic()
    place = of_the_race(prepared.variant, name)
    with race.time_left.doing(place, race.time_left.beginning(place)):
        arm = make_arm_of_base(own, replace(planned, learning_rate=rate, steps=training.steps), seed)
    race.progress.begin(f"Racing rates: {name} at {learning_rate(rate)}", {name: training.steps})
    losses: list[float] = []
    try:
        for step in range(training.steps):
            batch = own.corpus.batch(seed, step, training.batch * training.accumulation)
            forget_other_windows(own, batch)
            with race.time_left.doing(place, Work("step", name)):
                outcome = arm.take_step(batch, step)
            losses.append(outcome.loss_nats)
            race.progress.step(name, step, outcome.loss_nats, outcome.tokens, outcome.seconds)
            if statistics.mean(losses[-RECENT_STEPS:]) > race.untouched_loss + DIVERGED_NATS:
                raise DivergedError("the loss rose far above where it began.")
        loss = _race_loss(own, arm)
    except DivergedError:
        loss = math.inf
    finally:
        race.progress.end()
    del arm
    gc.collect()
    diverged = not loss < race.untouched_loss + DIVERGED_NATS
    return RateTried(
        prepared.variant,
        name,
        rate,
        len(losses),
        math.nan if diverged else loss,
        diverged,
        seconds=time.monotonic() - began,
    )


def _race_loss(prepared: Prepared, arm: Arm | None) -> float:
    """Mean loss on the windows of the race, of the arm or the untouched model."""
    batches = prepared.corpus.race_batches(EVALUATION_WINDOWS)
    model = prepared.model if arm is None else arm.model
    return evaluate_loss(model, batches, device=prepared.device, precision=prepared.precision).loss_nats


def _loss_of(trial: RateTried) -> float:
    return math.inf if trial.diverged else trial.loss_nats
