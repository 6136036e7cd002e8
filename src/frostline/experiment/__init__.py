"""How does a run go, survive, prove itself? From recipe to run folder, in this process."""

from frostline.experiment.arm_store import origin_of
from frostline.experiment.checkpoints import TRAINING_FOLDER
from frostline.experiment.held_together import TOGETHER, seen, take_part
from frostline.experiment.measuring import UntouchedLosses, evaluate_arm
from frostline.experiment.resume import (
    read_left,
    recorded_recipe,
    require_as_sharded,
    require_files,
    require_same_recipe,
    standing,
)
from frostline.experiment.run import RunResult, resume_experiment, run_experiment, write_recipe
from frostline.experiment.time_left import REPORT_SECONDS
from frostline.experiment.units import Head, Part, Tail, Unit, tails_of, units_of
from frostline.experiment.verify import Finding, verify_run

__all__ = [
    "REPORT_SECONDS",
    "TOGETHER",
    "TRAINING_FOLDER",
    "Finding",
    "Head",
    "Part",
    "RunResult",
    "Tail",
    "Unit",
    "UntouchedLosses",
    "evaluate_arm",
    "origin_of",
    "read_left",
    "recorded_recipe",
    "require_as_sharded",
    "require_files",
    "require_same_recipe",
    "resume_experiment",
    "run_experiment",
    "seen",
    "standing",
    "tails_of",
    "take_part",
    "units_of",
    "verify_run",
    "write_recipe",
]
