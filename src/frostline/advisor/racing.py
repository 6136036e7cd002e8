"""Which trials are still to be run? Those of the race, of the control of its winner, and with new seeds at the end.

Each of these goes on with the first trial that is not recorded.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from frostline.advisor.advice import Advice
from frostline.advisor.candidates import FULL, LATE_CONTROL, MATCHED
from frostline.advisor.priced_candidates import control_for
from frostline.advisor.prices import with_arms
from frostline.advisor.race import RUNGS, decide, next_rate, standings, steps_of_rungs
from frostline.advisor.recommendation import recommend
from frostline.advisor.retrained import RETRAINING, new_seeds
from frostline.advisor.trials import Course, TrialAsked, Trials
from frostline.arms import FULL_RATE, Prepared
from frostline.progress import RunProgress
from frostline.readable import duration
from frostline.recipe import BEST, ArmSettings
from frostline.run_folder import Record, RungEnded, TrialFinished
from frostline.signals import SignalInputs


def run_race(
    prepared: Prepared,
    advice: Advice,
    record: Callable[[Record], None],
    progress: RunProgress,
    trials: Trials,
) -> None:
    """Every trial that is not recorded yet, rung by rung."""
    racing = {name: made for name, made in advice.candidates.items() if not made.exceeds or name == FULL}
    arms = {name: ArmSettings.model_validate(made.settled) for name, made in racing.items()}
    settled = with_arms(prepared, arms)
    rungs = {rung.rung: rung for rung in advice.rungs}
    alive = list(racing)
    base = _base_rate(prepared)
    with trials.of(settled) as compute:
        planned = steps_of_rungs(advice.started.steps)
        for place, (rung, steps) in enumerate(planned.items()):
            if rung in rungs:
                alive = rungs[rung].kept
                continue
            progress.say(f"Rung {place + 1} of {len(planned)}: {len(alive)} plans, {steps} steps each")
            for trial in compute([_in_rungs(advice, {rung: steps}, name, base) for name in alive]):
                record(trial)
                name, number = trial.candidate, alive.index(trial.candidate) + 1
                loss = f"{statistics.mean(trial.window_losses):.4f}" if trial.window_losses else trial.cause
                progress.say(f"  {number}/{len(alive)}  {name} at {trial.learning_rate:.2g}: {loss}")
            kept, dropped = decide(advice.trials, rung, racing)
            record(RungEnded(rung, steps, kept, dropped))
            alive = kept


def _in_rungs(advice: Advice, rungs: dict[int, int], name: str, base: float) -> Course:
    """The trials of one candidate that are not recorded yet, in `rungs` (their steps by number)."""
    recorded = tuple(advice.trials)

    def following(computed: Sequence[TrialFinished]) -> TrialAsked | None:
        for rung, steps in rungs.items():
            rate = next_rate([*recorded, *computed], rung, name, base)
            if rate is not None:
                return TrialAsked(name, rate, rung, steps)
        return None

    return following


def _base_rate(prepared: Prepared) -> float:
    """The rate of full training around which plans are raced: the recipe's, or where a race of its own would begin."""
    rate = prepared.recipe.training.learning_rate
    return FULL_RATE if rate == BEST else rate


def race_control(
    prepared: Prepared,
    inputs: SignalInputs,
    advice: Advice,
    record: Callable[[Record], None],
    progress: RunProgress,
    trials: Trials,
) -> None:
    """A random choice matched with the pick, where there is one, or where none of its size was raced.

    Its rate is found as the pick's was.
    """
    found = recommend(advice.trials, advice.candidates)
    if found is None:
        return
    name = f"{LATE_CONTROL}{found.pick.candidate}"
    made = advice.candidates.get(name) or control_for(prepared, inputs, found.candidate, name, MATCHED)
    if made is None or (found.control not in (None, name) and not made.like):
        return
    if name not in advice.candidates:
        progress.say(f"A random choice of the size of {found.pick.candidate}")
        record(made)
    settled = with_arms(prepared, {name: ArmSettings.model_validate(made.settled)})
    rungs = dict(list(steps_of_rungs(advice.started.steps).items())[-2:])
    with trials.of(settled) as compute:
        for trial in compute([_in_rungs(advice, rungs, name, _base_rate(prepared))]):
            record(trial)


def retrain(
    prepared: Prepared, advice: Advice, record: Callable[[Record], None], progress: RunProgress, trials: Trials
) -> None:
    """The pick, its control and full training at their best rates, with seeds that chose nothing."""
    found = recommend(advice.trials, advice.candidates)
    if found is None:
        return
    last = {own.candidate: own for own in standings(advice.trials, RUNGS - 1) if own.held_out_losses}
    wanted = dict.fromkeys([found.pick.candidate, *([found.control] if found.control else []), FULL])
    names = [name for name in wanted if name in last]
    seeds = new_seeds(prepared.recipe.seeds)
    done = {(trial.candidate, trial.seed) for trial in advice.trials if trial.rung == RETRAINING}
    missing = [(name, seed) for seed in seeds for name in names if (name, seed) not in done]
    if not missing:
        return
    took = {trial.candidate: trial.seconds_in_all for trial in advice.trials if trial.rung == RUNGS - 1}
    expected = duration(sum(took[name] for name, _ in missing))
    progress.say(
        f"Again with seeds {' and '.join(map(str, seeds))}: {', '.join(names)}; about {expected} in one process"
    )
    arms = {name: ArmSettings.model_validate(advice.candidates[name].settled) for name in names}
    asked = [
        TrialAsked(name, last[name].learning_rate, RETRAINING, advice.started.steps, seed) for name, seed in missing
    ]
    with trials.of(with_arms(prepared, arms)) as compute:
        for trial in compute([_alone(own) for own in asked]):
            record(trial)
            loss = f"{statistics.mean(trial.held_out_losses):.4f}" if trial.held_out_losses else trial.cause
            progress.say(f"  {trial.candidate}, seed {trial.seed}: {loss}")


def _alone(asked: TrialAsked) -> Course:
    """The course of one trial that nothing follows from."""
    return lambda computed: None if computed else asked
