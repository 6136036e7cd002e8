"""Does the best learning rate of a short trial hold for the whole run? Losses over rate and length, arm by arm.

    python -m bench.rates --steps 16 --seeds 7 8 9

Every trial of an arm and seed reads the same windows from the same weights; warm-up and decay follow its own length.
The exponent is that by which the best rate falls with the steps: does it have a sign? What a shorter trial costs is the
loss of the rate that it chooses minus that of the best one, at the whole length, on the parabola through its trials.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from frostline.arms import Prepared, choose_rate, make_arm, prepare, shared_parts
from frostline.errors import TrainingError
from frostline.machine import describe_machine
from frostline.measures import EVALUATION_WINDOWS, evaluate_loss
from frostline.recipe import Recipe, Variant

ARMS: dict[str, object] = {"full": {"train": "all"}, "freeze": {"train": ["attn.qkv@50%:"]}}
SHARES = (0.5, 1.0)


@dataclass(frozen=True)
class Tried:
    """One trial."""

    arm: str
    steps: int
    rate: float
    loss_nats: float


def recipe_of(options: argparse.Namespace) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "rates",
            "model": {"source": options.model},
            "corpus": {"source": options.corpus},
            "windows": {"length": options.length, "held_out": options.held_out},
            "training": {"steps": options.steps, "batch": 2, "warmup": options.steps // 5},
            "arms": {name: ARMS[name] for name in options.arms},
            "measures": {"sampling": {"prompts": 0}, "memory": False},
        }
    )


def try_rate(sharing: Prepared, name: str, rate: float, steps: int, seed: int) -> Tried:
    """Train the arm for `steps` at `rate`, and evaluate it on the held-out windows."""
    whole = sharing.recipe.training
    training = whole.model_copy(update={"steps": steps, "warmup": round(whole.warmup * steps / whole.steps)})
    own = replace(sharing, recipe=sharing.recipe.model_copy(update={"training": training}))
    arm = make_arm(own, replace(own.arms[name], learning_rate=rate), seed)
    try:
        for step in range(steps):
            arm.take_step(own.corpus.batch(seed, step, training.batch), step)
    except TrainingError:
        return Tried(name, steps, rate, math.inf)
    batches = own.corpus.held_out_batches(EVALUATION_WINDOWS)
    return Tried(
        name, steps, rate, evaluate_loss(arm.model, batches, device=own.device, precision=own.precision).loss_nats
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--corpus", default="embedded")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--held-out", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--rates", nargs="+", type=float, default=[6.7e-5, 2e-4, 6e-4, 1.8e-3, 5.4e-3])
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "frostline")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    prepared = prepare(Variant("", recipe_of(options)), options.cache, say=print)
    print("; ".join(f"{key} {value}" for key, value in describe_machine().items()))
    lengths = [max(1, round(options.steps * share)) for share in SHARES]
    with shared_parts(prepared, None) as sharing:
        for name in options.arms:
            for seed in options.seeds:
                table: dict[int, dict[float, float]] = {steps: {} for steps in lengths}
                for steps in lengths:
                    for rate in options.rates:
                        began = time.monotonic()
                        tried = try_rate(sharing, name, rate, steps, seed)
                        table[steps][rate] = tried.loss_nats
                        print(
                            f"{name}, seed {seed}, {steps} steps at {rate:.2g}: {tried.loss_nats:.4f} "
                            f"({time.monotonic() - began:.0f} s)",
                            flush=True,
                        )
                report(f"{name}, seed {seed}", table)


def report(name: str, table: dict[int, dict[float, float]]) -> None:
    """What each length would choose, and what the choice of the shorter costs at the whole length."""
    short, whole = sorted(table)
    chosen = [choose_rate(table[steps]) for steps in (short, whole)]
    if chosen[0] is None or chosen[1] is None:
        print(f"{name}: diverged at every rate")
        return
    found, best = (one.learning_rate for one in chosen if one is not None)
    exponent = math.log(found / best) / math.log(whole / short)
    cost = loss_at(table[whole], found) - loss_at(table[whole], best)
    print(
        f"{name}: {short} steps choose {found:.2g}, {whole} steps {best:.2g} (exponent {exponent:.2f}); "
        f"{found:.2g} costs {cost:.4f} nats at {whole} steps",
        flush=True,
    )


def loss_at(losses: dict[float, float], rate: float) -> float:
    """The loss at a rate that was not tried: on the parabola in log rate through the best one and its neighbours."""
    rates = sorted(one for one, loss in losses.items() if math.isfinite(loss))
    place = min(max(1, rates.index(min(rates, key=losses.__getitem__))), len(rates) - 2)
    near = rates[place - 1 : place + 2]
    return float(np.polyval(np.polyfit(np.log(near), [losses[one] for one in near], 2), math.log(rate)))


if __name__ == "__main__":
    main()
