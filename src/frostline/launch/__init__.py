"""Where does it run? An experiment in this process, from recipe to run folder."""

from frostline.launch.experiment import RunResult, resume_experiment, run_experiment

__all__ = ["RunResult", "resume_experiment", "run_experiment"]
