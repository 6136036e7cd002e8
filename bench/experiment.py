"""How long does a whole experiment take, against running each arm with transformers.Trainer?

    python -m bench.experiment            # full + 3 plans that share a prefix, 6 replicates, 3 epochs

Both take the same number of steps on as many tokens of the same text; of weights nothing is measured and no text is
sampled, so that training is compared with training. Each arm and replicate of Trainer is a process of its own, as a
user's script would be. Of Frostline it times `frostline run --fresh` as a user calls it, with everything that it writes
(and its evaluations on one window before and after training), and says what share of it were the steps.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from bench.engine import print_machine
from frostline.cache import cache_folder

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
        recipe = Path(folder) / "experiment.yaml"
        recipe.write_text(yaml.safe_dump(recipe_of(options, steps)), encoding="utf-8")
        frostline = run_frostline(recipe, Path(folder) / "run")
        trainer = run_trainer(options, steps)
    print(
        f"\n{len(ARMS)} arms x {options.replicates} replicates x {steps} steps of {options.batch} x {options.length} "
        f"tokens ({options.epochs} epochs of {options.windows} windows)\n"
        f"frostline run: {frostline['wall']:.0f} s, of it {frostline['steps']:.0f} s steps\n"
        f"Trainer, arm by arm: {trainer['wall']:.0f} s, of it {trainer['steps']:.0f} s steps\n"
        f"Trainer / frostline: {trainer['wall'] / frostline['wall']:.2f} of all, "
        f"{trainer['steps'] / frostline['steps']:.2f} of the steps"
    )


def recipe_of(options: argparse.Namespace, steps: int) -> dict[str, object]:
    held_out = 1  # Trainer evaluates nothing; here there is always something held out
    return {
        "name": "bench",
        "corpus": {"source": "embedded", "tokens": (options.windows + held_out) * options.length},
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


def run_frostline(recipe: Path, run_folder: Path) -> dict[str, float]:
    started = time.perf_counter()
    command = [sys.executable, "-m", "frostline", "run", str(recipe), "--out", str(run_folder), "--fresh"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - started
    steps = 0.0
    for path in (run_folder / "journal").glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["kind"] == "StepTaken":
                steps += record["seconds"]
    return {"wall": wall, "steps": steps}


def run_trainer(options: argparse.Namespace, steps: int) -> dict[str, float]:
    started = time.perf_counter()
    took = 0.0
    for plan in ARMS.values():
        for seed in range(options.replicates):
            setup = {
                "kind": "trainer",
                "plan": plan,
                "batch": options.batch,
                "length": options.length,
                "cache": str(cache_folder()),
                "sets": 0,
                "seed": seed,
            }
            command = [sys.executable, "-m", "bench.contender", json.dumps(setup)]
            root = Path(__file__).resolve().parent.parent
            worker = subprocess.run(
                command, cwd=root, input="go\n" * steps, capture_output=True, text=True, check=False
            )
            lines = [json.loads(line) for line in worker.stdout.splitlines() if line.startswith("{")]
            seconds = [line["seconds"] for line in lines if "seconds" in line]
            if len(seconds) != steps:
                raise SystemExit(f"Trainer ended early: {worker.stderr[-500:]}")
            took += sum(seconds)
    return {"wall": time.perf_counter() - started, "steps": took}


if __name__ == "__main__":
    main()
