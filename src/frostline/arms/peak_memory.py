"""How much memory does one arm need? Its peak, measured with that arm alone in a process of its own.

`python -m frostline.arms.peak_memory` is that process: it trains the arm for two steps (the second has the optimizer's
state) and prints the peak as JSON. Loading the model is not counted: the peak is reset when training begins.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from frostline.errors import TrainingError
from frostline.recipe import Recipe, Variant, dump_recipe, load_recipe, trusting, with_absolute_paths
from frostline.started import alone
from frostline.storage import known_hashes, remember_hashes

STEPS = 2


@dataclass(frozen=True)
class MemoryMeasure:
    method: str
    peak_bytes: int
    model_bytes: int
    reserved_bytes: int | None = None
    """What the allocator of a GPU held at most, tensors included; None on a CPU."""


def measure_peak_memory(recipe: Recipe, arm: str, cache: Path) -> MemoryMeasure:
    """Peak memory of `arm` of a recipe that varies nothing, in bytes.

    Raises `TrainingError` when the process fails, as it does out of memory.
    """
    with tempfile.TemporaryDirectory(prefix="frostline-") as folder:
        recipe_file = Path(folder) / "recipe.yaml"
        recipe_file.write_text(dump_recipe(with_absolute_paths(recipe)), encoding="utf-8")
        known = Path(folder) / "hashes.json"
        known.write_text(json.dumps(known_hashes()), encoding="utf-8")
        command = [sys.executable, "-m", "frostline.arms.peak_memory", str(recipe_file), arm, str(cache), str(known)]
        day = recipe.corpus.template_date
        command += [recipe.model.trusted_code or "", "" if day is None else day.isoformat()]
        finished = subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False, env=alone()
        )
    if finished.returncode != 0:
        last = finished.stderr.strip().splitlines()[-1:] or ["no message"]
        raise TrainingError(f"arm {arm}: its memory could not be measured ({last[0]}).", "Set measures.memory=false.")
    return MemoryMeasure(**json.loads(finished.stdout.splitlines()[-1]))


def measure_here(recipe: Recipe, arm_name: str, cache: Path) -> MemoryMeasure:
    """Train `arm_name` for a few steps in this process and read its peak."""
    from frostline.arms.make import make_arm, shared_parts
    from frostline.arms.prepared import prepare
    from frostline.engine import give_back_device_memory, give_back_freed_memory
    from frostline.measures import memory_method, peak_bytes, reserved_peak_bytes, reset_peak

    # Only this arm: nothing that belongs to another may be in memory.
    alone = {
        "arms": {arm_name: recipe.arms[arm_name]},
        "retention": "none",
        "measures": recipe.measures.model_copy(update={"judge": None}),
    }
    recipe = recipe.model_copy(update=alone)
    loaded = prepare(Variant("", recipe), cache, say=lambda text: None)
    training, seed = recipe.training, recipe.seeds[0]
    # A fill has put its rows on disk; without one the child computes its own, and holds them in memory alone.
    with shared_parts(loaded, cache if loaded.fills_rows else None, keep_base=False) as prepared:
        # Frozen weights are proved to stay in the run itself: here nothing is hashed.
        unproved = dict.fromkeys((name for name, _ in prepared.model.named_parameters()), "")
        arm = make_arm(prepared, prepared.arms[arm_name], seed, hashed=unproved)
        give_back_freed_memory()
        give_back_device_memory(prepared.device)
        reset_peak(prepared.device)
        for step in range(min(STEPS, training.steps)):
            arm.take_step(prepared.corpus.batch(seed, step, training.batch * training.accumulation), step)
    model_bytes = sum(parameter.numel() * parameter.element_size() for parameter in arm.model.parameters())
    device = prepared.device
    return MemoryMeasure(memory_method(device), peak_bytes(device), model_bytes, reserved_peak_bytes(device))


if __name__ == "__main__":
    from frostline.arms.facts import dated

    recipe_file, arm, cache, known, trusted_code, day = sys.argv[1:]
    remember_hashes(json.loads(Path(known).read_text(encoding="utf-8")))
    wanted = trusting(load_recipe(Path(recipe_file)), trusted_code or None)
    wanted = dated(wanted, date.fromisoformat(day)) if day else wanted
    print(json.dumps(asdict(measure_here(wanted, arm, Path(cache)))))
