"""How long does a whole experiment take, against running each arm with transformers.Trainer?

    python -m bench.experiment            # full + 3 plans that share a prefix, 6 replicates, 3 epochs

Both take the same number of steps on as many tokens of the same text; of weights nothing is measured, no text is
sampled and no other corpus is evaluated, so that training is compared with training. Each arm and replicate of Trainer
is a process of its own, as a user's script would be (`bench/plain_trainer.py`: it loads, freezes and trains, and checks
nothing). Of Frostline it times `frostline run --fresh` as a user calls it, with everything that it writes (and its
evaluations on one window before and after training), and says what each kind of work took. Beside the clock's seconds
stand the processor's, of all threads and children, which others on the machine disturb less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from bench.engine import header, print_machine
from frostline.arms.prepared import Prepared, prepare
from frostline.cache import cache_folder
from frostline.loading.embedded_model import embedded_folder
from frostline.recipe import parse_recipe, variants_of

ROOT = Path(__file__).resolve().parent.parent
ARMS: dict[str, dict[str, list[str]]] = {
    "full": {"train": ["all"]},
    "query-key-value": {"train": ["attn.qkv@50%:"]},
    "attention": {"train": ["attn@50%:"]},
    "last-four": {"train": ["all@-4:"]},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--windows", type=int, default=8, help="training windows of the corpus: an epoch")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=128)
    options = parser.parse_args()
    print_machine()
    steps = options.epochs * options.windows // options.batch
    with tempfile.TemporaryDirectory() as folder:
        settings = recipe_of(options, steps)
        recipe = Path(folder) / "experiment.yaml"
        recipe.write_text(yaml.safe_dump(settings), encoding="utf-8")
        (variant,) = variants_of(parse_recipe(yaml.safe_dump(settings)))
        prepared = prepare(variant, cache_folder(), say=lambda sentence: None)  # both find a cache that is warm
        frostline, kinds = run_frostline(recipe, Path(folder))
        print(f"\n{header('what `frostline run` does', 'seconds', 'processor')}")
        for kind, (wall, cpu) in sorted(kinds.items(), key=lambda item: -item[1][1]):
            print(f"| {kind} | {wall:.1f} | {cpu:.1f} |", flush=True)
        trainer = run_trainer(options, prepared, Path(folder))
    print(
        f"\n{len(ARMS)} arms x {options.replicates} replicates x {steps} steps of {options.batch} x {options.length} "
        f"tokens ({options.epochs} epochs of {options.windows} windows)\n"
    )
    print(header("", "all, s", "of it steps, s", "all, processor's s", "of it steps, processor's s"))
    for name, took in (("`frostline run --fresh`", frostline), ("Trainer, a process each", trainer)):
        print(f"| {name} | {' | '.join(f'{took[key]:.0f}' for key in took)} |")
    print(f"| ratio | {' | '.join(f'{trainer[key] / frostline[key]:.2f}' for key in frostline)} |")


def recipe_of(options: argparse.Namespace, steps: int) -> dict[str, object]:
    held_out = 1  # Trainer evaluates nothing; here there is always something held out
    return {
        "name": "bench",
        "corpus": {"source": "embedded", "tokens": (options.windows + held_out) * options.length},
        "retention": "none",
        "windows": {"length": options.length, "held_out": held_out},
        "training": {"steps": steps, "batch": options.batch, "learning_rate": 1e-4, "untimed_steps": 0},
        "arms": ARMS,
        "seeds": list(range(options.replicates)),
        "measures": {
            "evaluate_every": 0,
            "weight_change_every": 0,
            "sampling": {"prompts": 0},
            "memory": False,
        },
    }


def run_frostline(recipe: Path, folder: Path) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Seconds of the command in all and of its steps; and by kind of work, of the clock and of the processor."""
    told = folder / "seconds.json"
    command = [sys.executable, "-m", "bench.watched", str(told), "run", str(recipe)]
    wall, cpu = _timed([*command, "--out", str(folder / "run"), "--fresh"])
    kinds = json.loads(told.read_text())
    steps = kinds["steps"]
    return {"wall": wall, "steps": steps[0], "cpu": cpu, "steps of the processor": steps[1]}, kinds


def run_trainer(options: argparse.Namespace, prepared: Prepared, folder: Path) -> dict[str, float]:
    """The same of a Trainer for each arm and replicate."""
    windows = folder / "windows.npy"
    np.save(windows, np.concatenate([
        prepared.corpus.batch(0, step, options.batch).input_ids for step in range(options.windows // options.batch)
    ]))  # fmt: skip
    took = dict.fromkeys(("wall", "steps", "cpu", "steps of the processor"), 0.0)
    for arm in prepared.arms.values():
        for seed in range(options.replicates):
            setup = {
                "model": str(embedded_folder(cache_folder())),
                "windows": str(windows),
                "trained": [portion.parameter for portion in arm.resolved.trained.values()],
                "batch": options.batch,
                "epochs": options.epochs,
                "bf16": prepared.precision == "bf16",
                "seed": seed,
            }
            (folder / "setup.json").write_text(json.dumps(setup))
            told = folder / "trainer.json"
            with told.open("w") as output:
                command = [sys.executable, "-m", "bench.plain_trainer", str(folder / "setup.json")]
                wall, cpu = _timed(command, output=output.fileno())
            steps = json.loads(told.read_text().splitlines()[-1])
            for key, seconds in zip(took, (wall, steps["wall"], cpu, steps["cpu"]), strict=True):
                took[key] += seconds
    return took


def _timed(command: list[str], output: int = subprocess.DEVNULL) -> tuple[float, float]:
    """Seconds of a command, of the clock and of the processor."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT, stdout=output, env=os.environ | {"TRANSFORMERS_VERBOSITY": "error"})
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
