"""Where does it run? An experiment in this process, from recipe to run folder."""

from frostline.launch.experiment import RunResult, run_experiment

__all__ = ["RunResult", "run_experiment"]
