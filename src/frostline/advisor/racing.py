"""Which trials are still to be run? Those of the race, of the control of its winner, and with new seeds at the end.

Each of these goes on with the first trial that is not recorded.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

from frostline.advisor.advice import Advice
from frostline.advisor.candidates import FULL, LATE_CONTROL, MATCHED
from frostline.advisor.priced_candidates import control_for
from frostline.advisor.prices import with_arms
from frostline.advisor.race import RUNGS, decide, next_rate, standings, steps_of_rungs
from frostline.advisor.recommendation import recommend
from frostline.advisor.retrained import RETRAINING, new_seeds
from frostline.advisor.trial import run_trial
from frostline.arms import FULL_RATE, Prepared, shared_parts
from frostline.corpus import Batch
from frostline.progress import RunProgress
from frostline.readable import duration
from frostline.recipe import BEST, ArmSettings
from frostline.run_folder import Record, RungEnded
from frostline.signals import SignalInputs


def run_race(
    prepared: Prepared,
    advice: Advice,
    record: Callable[[Record], None],
    progress: RunProgress,
    deciding: list[Batch],
    cache: Path,
) -> None:
    """Every trial that is not recorded yet, rung by rung."""
    racing = {name: made for name, made in advice.candidates.items() if not made.exceeds or name == FULL}
    arms = {name: ArmSettings.model_validate(made.settled) for name, made in racing.items()}
    settled = with_arms(prepared, arms)
    rungs = {rung.rung: rung for rung in advice.rungs}
    alive = list(racing)
    base = _base_rate(prepared)
    with shared_parts(settled, cache) as sharing:
        planned = steps_of_rungs(advice.started.steps)
        for place, (rung, steps) in enumerate(planned.items()):
            if rung in rungs:
                alive = rungs[rung].kept
                continue
            progress.say(f"Rung {place + 1} of {len(planned)}: {len(alive)} plans, {steps} steps each")
            # Evaluating takes as long as the steps of a trial this short; the first rung makes do with half of it.
            windows = deciding[: max(1, len(deciding) // 2)] if rung == 0 else deciding
            for number, name in enumerate(alive):
                while (rate := next_rate(advice.trials, rung, name, base)) is not None:
                    trial = run_trial(sharing, name, rate, rung, steps, windows)
                    record(trial)
                    loss = f"{statistics.mean(trial.window_losses):.4f}" if trial.window_losses else trial.cause
                    progress.say(f"  {number + 1}/{len(alive)}  {name} at {rate:.2g}: {loss}")
            kept, dropped = decide(advice.trials, rung, racing)
            record(RungEnded(rung, steps, kept, dropped))
            alive = kept


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
    deciding: list[Batch],
    cache: Path,
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
    with shared_parts(settled, cache) as sharing:
        for rung, steps in list(steps_of_rungs(advice.started.steps).items())[-2:]:
            while (rate := next_rate(advice.trials, rung, name, _base_rate(prepared))) is not None:
                record(run_trial(sharing, name, rate, rung, steps, deciding))


def retrain(
    prepared: Prepared, advice: Advice, record: Callable[[Record], None], progress: RunProgress, cache: Path
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
    progress.say(f"Again with seeds {' and '.join(map(str, seeds))}: {', '.join(names)}; about {expected}")
    arms = {name: ArmSettings.model_validate(advice.candidates[name].settled) for name in names}
    with shared_parts(with_arms(prepared, arms), cache) as sharing:
        for name, seed in missing:
            steps, rate = advice.started.steps, last[name].learning_rate
            trial = run_trial(sharing, name, rate, RETRAINING, steps, [], seed)
            record(trial)
            loss = f"{statistics.mean(trial.held_out_losses):.4f}" if trial.held_out_losses else trial.cause
            progress.say(f"  {name}, seed {seed}: {loss}")
