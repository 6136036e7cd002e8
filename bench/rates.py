"""Does the best learning rate of a short trial hold for the whole run? Losses over rate and length, arm by arm.

    python -m bench.rates --steps 40

Every trial of an arm reads the same windows from the same weights; warm-up and decay follow its own length. What a
shorter trial costs is the loss, at the whole length, of the rate that it would choose minus that of the best rate.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

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
    parser.add_argument("--seed", type=int, default=7)
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
            table: dict[int, dict[float, float]] = {steps: {} for steps in lengths}
            for steps in lengths:
                for rate in options.rates:
                    began = time.monotonic()
                    tried = try_rate(sharing, name, rate, steps, options.seed)
                    table[steps][rate] = tried.loss_nats
                    print(
                        f"{name} {steps} {rate:.2g}: {tried.loss_nats:.4f} ({time.monotonic() - began:.0f} s)",
                        flush=True,
                    )
            report(name, options.steps, table)


def report(name: str, whole: int, table: dict[int, dict[float, float]]) -> None:
    """What each length would choose, and what choosing the best of its trials costs at the whole length."""
    best = min(table[whole].values())
    for steps, losses in table.items():
        lowest, choice = min(losses, key=losses.__getitem__), choose_rate(losses)
        chosen = "none" if choice is None else f"{choice.learning_rate:.2g}, {choice.method}"
        print(f"{name}: {steps} steps choose {chosen}")
        print(
            f"{name}: the best trial of {steps} steps, {lowest:.2g}, costs {table[whole][lowest] - best:.4f} at {whole}"
        )


if __name__ == "__main__":
    main()
