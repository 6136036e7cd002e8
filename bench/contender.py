"""One way to train, in a process of its own: it takes one optimizer step each time it is asked, and says how long.

`python bench/contender.py '{"kind": ..., ...}'` prints a line of JSON once it is ready, then one for each line it
reads. Kinds: `trainer` (transformers.Trainer, the same parameters frozen), `reference` (Frostline's plain loop),
`engine` (its engine, prefixes stored), `uncached` (the engine, prefixes computed in each step).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from frostline.arms.make import lean, make_arm, shared_parts
from frostline.arms.prepared import Prepared, prepare
from frostline.corpus import Batch
from frostline.engine import Arm
from frostline.engine.allocator import give_back_freed_memory
from frostline.engine.device import synchronize
from frostline.engine.peak import measured_peak
from frostline.measures import peak_bytes, reset_peak
from frostline.recipe import parse_recipe, variants_of

ARM = "arm"
FOREVER = 1_000_000


@dataclass(frozen=True)
class Setup:
    """What a contender is asked to do."""

    kind: str
    plan: dict[str, list[str]]
    """As an arm of a recipe: `{"train": ["attn.qkv@50%:"]}`."""
    batch: int
    length: int
    cache: str
    model: str = "embedded"
    on_disk: bool = False
    """Store prefixes on disk as well, as a run does, and not in memory alone."""
    compile: bool = False
    sets: int = 4
    """Steps until the windows come back; 0: never."""
    seed: int = 0
    filled: bool = False
    """As after a fill of all rows before training: the layers below have left memory, and freed memory goes back."""


@dataclass(frozen=True)
class Ready:
    """What a contender says of itself before its first step."""

    device: str
    precision: str
    peak_flops_per_second: float
    needed_flops: float
    """Of a step: without its prefix for the engine, whose prefix is stored."""
    full_flops: float
    """Of a step that trains everything."""


@dataclass(frozen=True)
class Took:
    """One step."""

    seconds: float
    phases: dict[str, float]
    """Where the seconds went; empty for Trainer."""
    peak_bytes: int
    """Of memory, since the first step began."""
    cpu_seconds: float
    """Of the process, all threads: what others beside it on the machine disturb least."""


def main() -> None:
    warnings.simplefilter("ignore")
    setup = Setup(**json.loads(sys.argv[1]))
    prepared = prepared_for(setup)
    (serve_trainer if setup.kind == "trainer" else serve_arm)(prepared, setup)


def prepared_for(setup: Setup) -> Prepared:
    """Model, corpus and plan of a contender."""
    settings = {
        "windows": {"length": setup.length},
        "training": {
            "steps": FOREVER,
            "batch": setup.batch,
            "learning_rate": 1e-4,
            "engine": "reference" if setup.kind in ("trainer", "reference") else "fast",
            "prefix_cache": {
                "use": "never" if setup.kind == "uncached" else "always",
                "fill": "always" if setup.filled else "never",
            },
            "compile": setup.compile,
        },
        "model": {"source": setup.model},
        "corpus": {"source": "embedded"},
    }
    recipe = parse_recipe(json.dumps(settings | {"arms": {ARM: setup.plan}}))  # JSON is YAML
    (variant,) = variants_of(recipe)
    return prepare(variant, Path(setup.cache), say=lambda sentence: None)


def serve_arm(prepared: Prepared, setup: Setup) -> None:
    """Frostline's loop or engine."""
    cost = prepared.arms[ARM].cost
    needed = (1 - cost.ceiling_cached) * cost.full_step_flops if setup.kind == "engine" else cost.step_flops
    say_ready(prepared, needed)
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) if setup.on_disk else None
        if setup.kind == "reference":
            arm = make_arm(prepared, prepared.arms[ARM], setup.seed, model=prepared.model)
            take_steps(prepared, setup, lambda index: step_of_arm(arm, prepared, setup, index))
            return
        with shared_parts(prepared, cache, keep_base=False) as sharing:
            arm = make_arm(sharing, sharing.arms[ARM], setup.seed)
            take_steps(prepared, setup, lambda index: step_of_arm(arm, prepared, setup, index))


def step_of_arm(arm: Arm, prepared: Prepared, setup: Setup, index: int) -> tuple[float, dict[str, float]]:
    with lean(prepared, a_step=True):
        outcome = arm.take_step(windows_of(prepared, setup, index), 0)
    return outcome.seconds, asdict(outcome.phases)


def windows_of(prepared: Prepared, setup: Setup, index: int) -> Batch:
    return prepared.corpus.batch(setup.seed, index % setup.sets if setup.sets else index, setup.batch)


def take_steps(prepared: Prepared, setup: Setup, step: Callable[[int], tuple[float, dict[str, float]]]) -> None:
    give_back_freed_memory()
    reset_peak(prepared.device)
    for index, _ in enumerate(sys.stdin):
        cpu = time.process_time()
        seconds, phases = step(index)
        say(Took(seconds, phases, peak_bytes(prepared.device), time.process_time() - cpu))


def serve_trainer(prepared: Prepared, setup: Setup) -> None:
    """transformers.Trainer as its users run it; it reads the same windows."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    trained = {portion.parameter for portion in prepared.arms[ARM].resolved.trained.values()}
    for name, parameter in prepared.model.named_parameters():
        parameter.requires_grad_(name in trained)
    say_ready(prepared, prepared.arms[ARM].cost.step_flops)
    batches = [windows_of(prepared, setup, index) for index in range(setup.sets or 64)]
    rows = [
        {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}
        for batch in batches
        for ids, labels in zip(batch.input_ids, batch.labels, strict=True)
    ]

    class Turns(TrainerCallback):
        """Waits for its turn before each step, and says how long it took after it."""

        def on_step_begin(self, *_: object, **__: object) -> None:
            if not sys.stdin.readline():
                sys.exit()
            synchronize(prepared.device)
            self.started, self.cpu = time.perf_counter(), time.process_time()

        def on_step_end(self, *_: object, **__: object) -> None:
            synchronize(prepared.device)
            seconds, cpu = time.perf_counter() - self.started, time.process_time() - self.cpu
            say(Took(seconds, {}, peak_bytes(prepared.device), cpu))

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=prepared.device.type == "cpu",
            bf16=prepared.precision == "bf16",
            per_device_train_batch_size=setup.batch,
            max_steps=FOREVER,
            learning_rate=1e-4,
            lr_scheduler_type="constant",
            save_strategy="no",
            report_to="none",
            logging_strategy="no",
            disable_tqdm=True,
        )
        give_back_freed_memory()
        reset_peak(prepared.device)
        Trainer(prepared.model, arguments, train_dataset=rows, callbacks=[Turns()]).train()


def say_ready(prepared: Prepared, needed_flops: float) -> None:
    peak = measured_peak(prepared.device, prepared.precision)
    say(Ready(str(prepared.device), prepared.precision, peak, needed_flops, prepared.arms[ARM].cost.full_step_flops))


def say(what: Ready | Took) -> None:
    print(json.dumps(asdict(what)), flush=True)


if __name__ == "__main__":
    main()
