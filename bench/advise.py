"""Is the advice good, and what does it spare? The advisor against the exhaustive search, chance and the usual rule.

    python -m bench.advise --corpus embedded --out runs/bench-advise
    python -m bench.advise --corpus moby-dick.txt --out runs/bench-advise-moby-dick

The exhaustive search trains each single layer and each single role alone, at learning rates up and down until the best
is found, on the same windows in the same order as the race's last rung, so that all losses are comparable window by
window. Its best is taken with hindsight, by the held-out windows themselves, which flatters it. The pick then meets ten
random plans of its size (and of its roles, where these leave a choice), one in each of ten further replicates, and the
usual rules. Stopped, it goes on with what
--out keeps.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter
from rich.console import Console

from bench.engine import header, print_machine
from frostline.advisor.advice import Advice
from frostline.advisor.advising import advise
from frostline.advisor.budget import parse_budget
from frostline.advisor.candidates import FULL, UPPER_HALF
from frostline.advisor.priced_candidates import control_for
from frostline.advisor.prices import with_arms
from frostline.advisor.race import (
    RATES,
    RUNGS,
    loss_of,
    next_in_valley,
    paired,
    rates_around,
    standings,
)
from frostline.advisor.recommendation import Recommendation
from frostline.advisor.search_cost import search_cost
from frostline.advisor.signal_scores import score_signals
from frostline.advisor.transplant import Transplant, transplant
from frostline.advisor.trial import EVALUATION_BATCH, deciding_windows, run_trial
from frostline.arms.make import make_arm, shared_parts
from frostline.arms.prepared import Prepared, prepare
from frostline.arms.rates import FULL_RATE
from frostline.cache import cache_folder
from frostline.corpus import Batch
from frostline.plans import ModelMap
from frostline.progress import RunProgress
from frostline.recipe import ArmSettings, Recipe, Variant
from frostline.run_folder import TrialFinished
from frostline.signals.kept import signal_inputs_of, signals_of
from frostline.stats.intervals import t_interval
from frostline.stats.significance import sign_flip_p
from frostline.terminal.progress import PlainProgress

BUDGET = "parameters=20%"
"""Which each single layer and each single role of the layers keeps, and a quarter of their matrices too."""
RANDOM_PLANS = 10
START = RATES[3]
"""Times the recipe's learning rate, where the search begins: what trains little wants a higher one."""
FIRST_NUMBER = 101
"""Of the random plans: none of the advice's own."""
TRIALS = TypeAdapter(TrialFinished)


@dataclass(frozen=True)
class Kept:
    """Trials by what they are of, one JSON line each, so that a stopped search goes on."""

    path: Path
    trials: dict[str, TrialFinished]

    def get(self, key: str, run: Callable[[], TrialFinished]) -> TrialFinished:
        if key not in self.trials:
            self.trials[key] = run()
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{key}\t{TRIALS.dump_json(self.trials[key]).decode()}\n")
        return self.trials[key]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="embedded", help="a text, or embedded")
    parser.add_argument("--out", type=Path, required=True, help="folder for what is found")
    parser.add_argument("--steps", type=int, default=18, help="of the last rung, and of every run of the search")
    parser.add_argument("--length", type=int, default=128, help="tokens of a window")
    options = parser.parse_args()
    print_machine()
    recipe = Recipe.model_validate(
        {
            "name": f"where to train for {Path(options.corpus).stem}",
            "corpus": {"source": options.corpus},
            "windows": {"length": options.length, "held_out": 16},
            "training": {"steps": options.steps, "batch": 2, "learning_rate": 2e-4, "warmup": 4},
            "arms": {FULL: {"train": ["all"]}},
            "seeds": [0],
        }
    )
    options.out.mkdir(parents=True, exist_ok=True)
    kept = read_kept(options.out / "trials.tsv")
    with PlainProgress(Console(stderr=True)) as progress:
        prepared = prepare(Variant("", recipe), cache_folder(), say=progress.say)
        result = advise(
            recipe, options.out / "advice", cache_folder(), progress, budget=parse_budget([BUDGET]), steps=options.steps
        )
        if result.recommendation is None or result.advice is None:
            raise SystemExit(result.exit_code or 1)
        found, advice = result.recommendation, result.advice
        print(f"\n## {recipe.corpus.source}: {options.steps} steps of 2 x {options.length} tokens\n", flush=True)
        for sentence in found.sentences:
            print(f"> {sentence}")
        inputs = signal_inputs_of(prepared.model, prepared.corpus, device=prepared.device, precision=prepared.precision)
        signals = signals_of(inputs, cache_folder(), say=progress.say)
        alone = search_exhaustively(prepared, inputs.map, options.steps, kept, progress)
        print_regret(prepared, alone, advice, found)
        truth = single_gains(prepared, alone)
        acts = where_training_acts(prepared, inputs.map, advice, options.steps, progress)
        print_single(truth, acts)
        print("\nRank correlation of each signal with the truth:\n")
        print(header("signal", "layers: trained alone", "layers: transplanted", "roles: trained alone", "transplanted"))
        by_training = score_signals(signals.values(), *truth)
        effects = ({layer: own.alone for layer, own in acts.layers.items()},
                   {role: own.alone for role, own in acts.roles.items()})  # fmt: skip
        for trained, moved in zip(by_training, score_signals(signals.values(), *effects), strict=True):
            numbers = (trained.layers, moved.layers, trained.roles, moved.roles)
            print(f"| `{trained.signal}` | {' | '.join('' if rho is None else f'{rho:+.2f}' for rho in numbers)} |")
        made = [
            control_for(prepared, inputs, found.candidate, f"random-{FIRST_NUMBER + index}", FIRST_NUMBER + index)
            for index in range(RANDOM_PLANS)
        ]
        randoms = {own.candidate: ArmSettings.model_validate(own.settled) for own in made if own is not None}
        meet(prepared, randoms, found, options.steps, kept, progress)


def read_kept(path: Path) -> Kept:
    """What an earlier process found; a torn last line is left out."""
    trials = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                key, _, trial = line.partition("\t")
                trials[key] = TRIALS.validate_json(trial)
    return Kept(path, trials)


def search_exhaustively(
    prepared: Prepared, model_map: ModelMap, steps: int, kept: Kept, progress: RunProgress
) -> dict[str, list[TrialFinished]]:
    """Each layer and each role alone, at each rate that may be its best."""
    roles = dict.fromkeys(portion.role for portion in model_map.portions if portion.layer is not None)
    arms = {f"layer {layer}": ArmSettings(train=(f"all@{layer}",)) for layer in range(model_map.layers)}
    arms |= {role: ArmSettings(train=(f"{role}@:",)) for role in roles}
    deciding = deciding_windows(prepared, steps)
    found: dict[str, list[TrialFinished]] = {}
    with shared_parts(with_arms(prepared, arms), None) as sharing:
        for name in arms:
            train = partial(run_trial, sharing, name, rung=RUNGS - 1, steps=steps, deciding=deciding)
            found[name] = at_each_rate(prepared, kept, name, train)
            best = best_of(found[name])
            progress.say(f"{name}: {statistics.mean(best.held_out_losses):.4f} at {best.learning_rate:.2g}")
    return found


def at_each_rate(prepared: Prepared, kept: Kept, what: str, train: Callable[..., TrialFinished]) -> list[TrialFinished]:
    """Trials at learning rates up and down from `START`, until the best one is found."""
    rates = rates_around(FULL_RATE)
    start = rates[RATES.index(START)]
    trials: dict[float, TrialFinished] = {}
    losses: dict[float, float] = {}
    while (rate := next_in_valley(losses, rates, start)) is not None:
        trials[rate] = kept.get(f"{what} {rate:.6g}", partial(train, rate=rate))
        losses[rate] = loss_of(trials[rate])
    return list(trials.values())


def best_of(trials: Sequence[TrialFinished]) -> TrialFinished:
    """The one of the best rate, by the windows that decide."""
    return min(trials, key=loss_of)


def untouched_loss(prepared: Prepared) -> float:
    from frostline.measures import window_losses

    batches = prepared.corpus.held_out_batches(EVALUATION_BATCH)
    return statistics.mean(window_losses(prepared.model, batches, device=prepared.device, precision=prepared.precision))


def print_regret(
    prepared: Prepared, alone: dict[str, list[TrialFinished]], advice: Advice, found: Recommendation
) -> None:
    by_loss = sorted(
        (best_of(trials) for trials in alone.values()), key=lambda own: statistics.mean(own.held_out_losses)
    )
    best = by_loss[0]
    regret = paired(found.pick.held_out_losses, best.held_out_losses)
    assert advice.ended is not None
    # By the quickest trial of each plan: a machine that paused, or another's load, hits single trials.
    quickest = {name: min(trial.seconds_in_all for trial in trials) for name, trials in alone.items()}
    searched = sum(len(trials) * quickest[name] for name, trials in alone.items())
    whole_grid = len(RATES) * sum(quickest.values())
    print(f"\nHeld-out loss before training: {untouched_loss(prepared):.3f} nats. The search made "
          f"{sum(map(len, alone.values()))} trials, the race {len(advice.trials)}.\n")  # fmt: skip
    print(header("", "plan", "held-out loss, nats", "wall time, s"))
    rows = (
        (
            "advised",
            f"`{found.pick.candidate}`: {found.candidate.plan}",
            found.pick.held_out_loss,
            advice.ended.seconds,
        ),
        (f"best of {len(alone)}, with hindsight", best.candidate, statistics.mean(best.held_out_losses), searched),
    )
    for what, plan, loss, seconds in rows:
        print(f"| {what} | {plan} | {loss:.3f} | {seconds:.0f} |")
    print(f"\nRegret: {regret.mean:+.3f} [{regret.low:+.3f}, {regret.high:+.3f}] nats over {regret.windows} held-out "
          f"windows. The search took {searched / advice.ended.seconds:.1f} times as long as the advice; at each of the "
          f"{len(RATES)} rates for each plan ({len(RATES) * len(alone)} trials) it would take "
          f"{whole_grid / advice.ended.seconds:.1f} times as long.")  # fmt: skip
    cost = search_cost(advice)
    assert cost is not None
    steps = sum(len(trial.step_losses) for trials in alone.values() for trial in trials)
    print(f"\n{cost.sentence} The exhaustive search trains {steps} steps, {steps / cost.steps:.1f} times as many.")


def single_gains(
    prepared: Prepared, alone: dict[str, list[TrialFinished]]
) -> tuple[dict[int, float], dict[str, float]]:
    """What each layer and each role gains when it alone is trained, in nats."""
    before = untouched_loss(prepared)
    gains = {name: before - statistics.mean(best_of(trials).held_out_losses) for name, trials in alone.items()}
    layers = {int(name.removeprefix("layer ")): gain for name, gain in gains.items() if name.startswith("layer ")}
    return layers, {name: gain for name, gain in gains.items() if not name.startswith("layer ")}


def where_training_acts(
    prepared: Prepared, model_map: ModelMap, advice: Advice, steps: int, progress: RunProgress
) -> Transplant:
    """Full training at its best rate, then what each layer's and role's change is worth."""
    rate = next(own.learning_rate for own in standings(advice.trials, RUNGS - 1) if own.candidate == FULL)
    arm_settings = {FULL: ArmSettings(train=("all",), learning_rate=rate)}
    with shared_parts(with_arms(prepared, arm_settings), None) as sharing:
        arm = make_arm(sharing, sharing.arms[FULL], 0)
        for step in range(steps):
            arm.take_step(prepared.corpus.batch(0, step, prepared.recipe.training.batch), step)
        arm.forward.finish()
        return transplant(prepared.model, arm.model, model_map, held_out(prepared), device=prepared.device,
                          precision=prepared.precision, say=progress.say)  # fmt: skip


def held_out(prepared: Prepared) -> Callable[[], Iterable[Batch]]:
    return lambda: prepared.corpus.held_out_batches(EVALUATION_BATCH)


def print_single(truth: tuple[dict[int, float], dict[str, float]], acts: Transplant) -> None:
    layers, roles = truth
    print(f"\nFull training gains {acts.gain:.3f} nats. Alone: trained alone, in nats. Transplanted: share of full "
          "training's gain that the change alone brings, and that goes when it is taken away.\n")  # fmt: skip
    print(header("", "trained alone", "transplanted", "taken away"))
    rows = [(f"layer {layer}", gain, acts.layers[layer]) for layer, gain in layers.items()]
    rows += [(f"`{role}`", gain, acts.roles[role]) for role, gain in roles.items()]
    for name, gain, effect in sorted(rows, key=lambda row: -row[1]):
        print(f"| {name} | {gain:.3f} | {effect.alone:.1%} | {effect.removed:.1%} |")


def meet(
    prepared: Prepared,
    randoms: dict[str, ArmSettings],
    found: Recommendation,
    steps: int,
    kept: Kept,
    progress: RunProgress,
) -> None:
    """The pick, one random plan of its size, the upper half and the last quarter, in each of ten replicates."""
    if not randoms:
        print("\nThere is no random choice of the size of the advised plan.")
        return
    pick = ArmSettings.model_validate(found.candidate.settled)
    rules = {
        UPPER_HALF: ArmSettings(train=("attn@50%:", "mlp@50%:")),
        "upper-quarter": ArmSettings(train=("all@75%:",)),
    }
    sharing_arms = {"advised": pick, **rules, **randoms}
    deciding = deciding_windows(prepared, steps)
    best_rate = {"advised": found.pick.learning_rate}
    losses: dict[str, list[float]] = {name: [] for name in ("advised", "random", *rules)}
    with shared_parts(with_arms(prepared, sharing_arms), None) as sharing:
        for name in (*rules, *randoms):
            train = partial(run_trial, sharing, name, rung=0, steps=max(1, steps // 3), deciding=deciding)
            tried = at_each_rate(prepared, kept, f"rate of {sharing.arms[name].plan.text}", train)
            best_rate[name] = best_of(tried).learning_rate
            progress.say(f"{name}: best at {best_rate[name]:.2g}")
        for index, random in enumerate(randoms):
            seed = index + 1
            own = replace(sharing, recipe=sharing.recipe.model_copy(update={"seeds": (seed,)}))
            for kind in losses:
                arm = random if kind == "random" else kind
                rate = best_rate[arm]
                train = partial(run_trial, own, arm, rate, RUNGS - 1, steps, deciding)
                trial = kept.get(f"seed {seed} at {rate:.6g} {sharing.arms[arm].plan.text}", train)
                losses[kind].append(statistics.mean(trial.held_out_losses))
            progress.say(f"Replicate {seed} of {len(randoms)}")
    print(
        f"\n{len(randoms)} replicates; each has another seed and another random plan of the size of the advised one.\n"
    )
    print(header("advised minus", "mean, nats", "median", "better in", "p (exact sign-flip)"))
    for kind in ("random", *rules):
        differences = [own - other for own, other in zip(losses["advised"], losses[kind], strict=True)]
        interval = t_interval(differences, "nats")
        cells = (
            f"{interval.value:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]",
            f"{statistics.median(differences):+.4f}",
            f"{sum(difference < 0 for difference in differences)} of {len(differences)}",
            f"{sign_flip_p(differences):.3f}",
        )
        print(f"| {kind} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
