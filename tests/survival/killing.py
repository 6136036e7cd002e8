"""Experiments to kill, and what must be the same afterwards."""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tests.builders.experiments import journal_without_clock, write_experiment
from tests.builders.processes import Processes

EACH_STEP = {"every_steps": 1, "largest_share": 1.0, "keep": 2}
TRAINING = {"steps": 6, "batch": 2, "learning_rate": 0.01, "precision": "fp32", "untimed_steps": 1}
GRADUAL = {"train": ["attn@-1:"], "changes": [{"at": 2, "thaw": ["mlp@-1:"]}, {"at": 4, "freeze": ["attn@-1:"]}]}
FULL_AND_FREEZE = {"full": {"train": "all"}, "freeze": {"train": ["attn.qkv@50%:"]}}
RACED = "a race of learning rates"
FILLED = "stored rows filled before training"
KINDS: dict[str, dict[str, object]] = {
    "engine, epochs, several replicates": {"save": ["freeze"]},
    "reference loop": {"training": {**TRAINING, "engine": "reference"}, "save": ["full"]},
    "random offsets, arms one by one": {
        "windows": {"length": 16, "held_out": 4, "order": "random"},
        "training": {**TRAINING, "schedule": "one-by-one"},
    },
    "plans that change over time, adapters": {
        "arms": {"gradual": GRADUAL, "lora": {"lora": {"rank": 2, "targets": ["attn.qkv"]}}},
        "save": {"gradual": "all", "lora": "model"},
    },
    "a half-built prefix cache": {
        "training": {**TRAINING, "steps": 30, "prefix_cache": {"use": "always"}},
        "arms": FULL_AND_FREEZE,
        "seeds": [0],
    },
    FILLED: {
        "training": {**TRAINING, "steps": 4, "prefix_cache": {"fill": "always"}},
        "arms": {"full": {"train": "all"}, "freeze": {"train": ["attn.qkv@-1:"]}},
        "seeds": [0],
    },
    "reused arms": {},
    "bf16, accumulation and dropout": {
        "training": {**TRAINING, "precision": "bf16", "accumulation": 3, "dropout": 0.1, "decay": "cosine"},
        "arms": FULL_AND_FREEZE,
    },
    "variants and a retention corpus": {
        "vary": {"corpus.tokens": [600, 1200]},
        "retention": {"source": "text.txt"},
        "arms": FULL_AND_FREEZE,
        "seeds": [0],
    },
    RACED: {
        "windows": {"length": 16, "held_out": 4, "race": 4},
        "training": {**TRAINING, "steps": 4, "learning_rate": "best", "rates": [0.003, 0.01, 0.03]},
        "arms": FULL_AND_FREEZE | {"twin": FULL_AND_FREEZE["freeze"]},
        "seeds": [0],
        "save": ["freeze"],
    },
}


@dataclass(frozen=True)
class Straight:
    """One experiment of a kind, run once without a kill."""

    kind: str
    folder: Path
    recipe: Path
    cache: Path
    """As it is before each run."""
    seconds: float
    expected: dict[str, object]

    def arguments(self, run_folder: Path) -> list[str]:
        """Of the command that starts the experiment or goes on with it."""
        fresh = [] if self.kind == "reused arms" else ["--fresh"]
        return ["run", str(self.recipe), "--out", str(run_folder), "--resume", "auto", *fresh]


def run_straight(processes: Processes, kind: str, folder: Path) -> Straight:
    """Run the experiment of this kind to its end."""
    settings: dict[str, object] = {"checkpoints": EACH_STEP, **KINDS[kind]}
    recipe = write_experiment(folder, layers=4 if kind == FILLED else 2, **settings)  # type: ignore[arg-type]  # of any type
    cache = folder / "cache"
    cache.mkdir()
    # The corpus is tokenised, and for arms to be reused two of three are trained.
    first = ["run", str(recipe), "--out", str(folder / "first"), "--set", "name=first"]
    if kind == "reused arms":
        first += ["--set", "arms={full: {train: all}, freeze: {train: ['attn.qkv@50%:']}}"]
    else:
        first += [
            "--fresh",
            "--set",
            "training.steps=1",
            "--set",
            "save=[]",
            "--set",
            "training.prefix_cache={use: never}",
        ]
        if kind == "plans that change over time, adapters":
            first += ["--set", "arms={full: {train: all}}"]
    run(processes, first, cache, folder)
    own_cache = folder / "cache-straight"
    shutil.copytree(cache, own_cache)
    straight = Straight(kind, folder, recipe, cache, 0.0, {})
    began = time.monotonic()
    run(processes, straight.arguments(folder / "straight"), own_cache, folder)
    return Straight(kind, folder, recipe, cache, time.monotonic() - began, snapshot(folder / "straight"))


def run(processes: Processes, arguments: list[str], cache: Path, folder: Path) -> None:
    """Run a command that must go well."""
    output = folder / "output.txt"
    code = processes.run(arguments, cache, output)
    assert code == 0, output.read_text()[-3000:]


def kill_and_go_on(processes: Processes, straight: Straight, moments: list[float], name: str) -> Path:
    """Begin the experiment, kill it after each of `moments` (seconds), go on each time; the run folder at its end."""
    folder = straight.folder / name
    folder.mkdir()
    cache, run_folder, output = folder / "cache", folder / "run", folder / "output.txt"
    shutil.copytree(straight.cache, cache)
    for moment in moments:
        processes.begin(straight.arguments(run_folder), cache, output)
        time.sleep(moment)
        processes.send(signal.SIGKILL)
        code = processes.wait()
        assert code in (0, -signal.SIGKILL), output.read_text()[-3000:]
    run(processes, straight.arguments(run_folder), cache, folder)
    return run_folder


def moments_of(straight: Straight, generator: random.Random, kills: int) -> list[float]:
    """Moments spread evenly over the whole run, its beginning and its report included."""
    return [generator.uniform(0, straight.seconds * 1.02) for _ in range(kills)]


def snapshot(run_folder: Path) -> dict[str, object]:
    """What must not depend on kills: the journal without its clock, which files there are, trained models by hash."""
    files = sorted(str(path.relative_to(run_folder)) for path in run_folder.rglob("*") if path.is_file())
    return {
        "files": files,
        "journal": journal_without_clock(run_folder),
        "models": {
            name: hashlib.sha256((run_folder / name).read_bytes()).hexdigest()
            for name in files
            if name.startswith("checkpoints")
        },
        "recipe": (run_folder / "experiment.yaml").read_bytes(),
    }
