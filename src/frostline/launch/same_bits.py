"""Do machines of one kind give the same bits? A short unit is computed twice, on two of them where there are two.

Two steps of the baseline, from the untouched model, with nothing stored from before: what comes of it is a hash of all
that was recorded, the clock aside, the weights' own hash among it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

from frostline.experiment import run_experiment
from frostline.launch.part_work import Order, ready_machine, recipe_of, working
from frostline.launch.taking_in import without_clock
from frostline.progress import NoProgress
from frostline.recipe import Recipe, variants_of
from frostline.run_folder import JOURNAL_FOLDER, RUN_FILE

STEPS = 2
USUAL_RATE = 1e-4
"""Where a race is to find the rate."""


def short_unit(recipe: Recipe) -> Recipe:
    """The baseline of the first variant alone, for two steps, measured at the end and nowhere else."""
    own = variants_of(recipe)[0].recipe
    arm = own.arms[own.baseline_arm].model_copy(update={"changes": ()})
    rate = own.learning_rate_of(own.baseline_arm)
    training = own.training.of_steps(STEPS).model_copy(
        update={
            "learning_rate": USUAL_RATE if isinstance(rate, str) else rate,
            "prefix_cache": own.training.prefix_cache.model_copy(update={"use": "never", "fill": "auto"}),
        }
    )
    measures = own.measures.model_copy(
        update={
            "evaluate_every": 0,
            "sampling": own.measures.sampling.model_copy(update={"prompts": 0}),
            "judge": None,
            "memory": False,
        }
    )
    arms = {own.baseline_arm: arm.model_copy(update={"learning_rate": None})}
    changed = {"arms": arms, "training": training, "measures": measures, "retention": "none"}
    return own.model_copy(update={**changed, "seeds": own.seeds[:1], "save": (), "primary": None, "vary": {}})


def computed_bits(order: Order) -> str:
    """Compute the short unit here; a hash of what came of it. Raises `FrostlineError`."""
    with working(order) as (_, cache, _shared), tempfile.TemporaryDirectory(prefix="frostline-bits-") as folder:
        ready_machine(order)
        run_folder = Path(folder) / "run"
        run_experiment(short_unit(recipe_of(order)), run_folder, cache, NoProgress(), fresh=True)
        journals = sorted((run_folder / JOURNAL_FOLDER).glob("*.jsonl"))
        told = {path.name: without_clock(path.read_bytes()) for path in journals if path.name != RUN_FILE}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
