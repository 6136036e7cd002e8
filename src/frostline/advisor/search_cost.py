"""What did the search itself take? Its training steps, and apart from them all that is not training."""

from __future__ import annotations

from dataclasses import dataclass

from frostline.advisor.advice import Advice
from frostline.readable import number, percent, seconds


@dataclass(frozen=True)
class SearchCost:
    """What an advice took, its training apart from everything else."""

    seconds: float
    """Of all its processes."""
    trials: int
    steps: int
    """Steps of all trials."""
    step_seconds: float
    """What these took: the median step of each trial, times its steps."""
    runs: float | None
    """Its steps over those of a run of the recipe; None where the journal does not say."""
    side_by_side: bool = False
    """Whether its trials took more time than it did itself, as on several machines."""

    @property
    def sentence(self) -> str:
        """For a reader."""
        whole = "" if self.runs is None else f", {number(self.runs, 2)} times those of a full run"
        took = seconds(self.step_seconds)
        begins = (
            f"The search took {seconds(self.seconds)}: {self.trials} trials of {self.steps} training steps in "
            f"all{whole}, which took {took}"
        )
        if self.side_by_side:
            return f"{begins} of processes side by side."
        share = percent(self.step_seconds / self.seconds, 0)
        return f"{begins} ({share}); the rest went into evaluation, set-up, signals and prices."


def search_cost(advice: Advice) -> SearchCost | None:
    """What the search took; None before it ended."""
    if advice.ended is None or advice.ended.seconds <= 0:
        return None
    steps = sum(len(trial.step_losses) for trial in advice.trials)
    training = sum(len(trial.step_losses) * trial.seconds for trial in advice.trials)
    run = advice.started.run_steps
    side_by_side = sum(trial.seconds_in_all for trial in advice.trials) > advice.ended.seconds
    runs = steps / run if run else None
    return SearchCost(advice.ended.seconds, len(advice.trials), steps, training, runs, side_by_side)
