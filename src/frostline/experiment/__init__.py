"""How does a run go, survive, prove itself? From recipe to run folder, in this process."""

from frostline.experiment.measuring import UntouchedLosses, evaluate_arm
from frostline.experiment.resume import recorded_recipe, require_files, standing
from frostline.experiment.run import RunResult, resume_experiment, run_experiment
from frostline.experiment.verify import Finding, verify_run

__all__ = [
    "Finding",
    "RunResult",
    "UntouchedLosses",
    "evaluate_arm",
    "recorded_recipe",
    "require_files",
    "resume_experiment",
    "run_experiment",
    "standing",
    "verify_run",
]
