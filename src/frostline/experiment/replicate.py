"""One seed of one variant: where its records and checkpoints go, and what an earlier process, or another run, left.

Training it is `train`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from frostline.arms import Prepared
from frostline.errors import CacheError
from frostline.experiment.arm_store import ArmStore
from frostline.experiment.checkpoints import ArmCheckpoints, Saving, arm_checkpoints
from frostline.experiment.measuring import UNTOUCHED, UntouchedLosses
from frostline.experiment.time_left import TimeLeft
from frostline.progress import RunProgress
from frostline.run_folder import (
    BEGINNING,
    ArmFailed,
    ArmFinished,
    ArmJournal,
    ArmPlace,
    ArmStarted,
    Continuation,
    Journal,
    TrueContinuation,
    kept_weights_folder,
)


@dataclass(frozen=True)
class Replicate:
    """One seed of one variant, and where its results go."""

    prepared: Prepared
    seed: int
    journal: Journal
    progress: RunProgress
    untouched_losses: UntouchedLosses
    store: ArmStore | None = None
    """Arms that were trained before; None trains all anew."""
    retry_failed: bool = False
    """Whether arms that failed in an earlier process are tried again."""
    conditions_changed: bool = False
    """Whether the run went on under other conditions than it was begun."""
    saving: Saving = field(default_factory=Saving)
    time_left: TimeLeft = field(default_factory=TimeLeft)
    fill: Callable[[], None] = lambda: None
    """Makes the rows that arms start from, where that is done before training; once, however often it is called."""
    fill_seconds: Callable[[int], float] = lambda layers: 0.0
    """What that took for so many layers, a replicate's share of it."""

    @property
    def title(self) -> str:
        """For people: the seed, and the variant where there are several."""
        return f"{self.prepared.variant}, seed {self.seed}" if self.prepared.variant else f"seed {self.seed}"

    def journal_of(self, name: str) -> ArmJournal:
        """Where the arm `name` is written about; '' is the untouched model."""
        return self.journal.of(ArmPlace(self.prepared.variant, self.seed, name))

    def checkpoints_of(self, name: str) -> ArmCheckpoints:
        """The checkpoints of the arm `name`."""
        folder, settings = self.journal.run_folder, self.prepared.recipe.checkpoints
        return arm_checkpoints(folder, settings, self.journal_of(name).path.name)

    def begin_anew(self, name: str) -> None:
        """Forget what an earlier process wrote about the arm `name`."""
        self.journal_of(name).rewind(BEGINNING)
        self.checkpoints_of(name).remove()

    def weights_folder_of(self, name: str) -> Path:
        """Where the trained tensors of the arm `name` are kept, if the recipe asks for that."""
        return kept_weights_folder(self.journal.run_folder, self.journal_of(name).path.name.removesuffix(".jsonl"))

    def saves_model_of(self, name: str) -> bool:
        """Whether the recipe asks for this arm's trained model."""
        recipe = self.prepared.recipe
        return name in recipe.saved_models and self.seed == recipe.seeds[0]

    def needs_training(self, name: str) -> bool:
        """Whether the recipe asks for what only training can give: this arm's trained model, or tensors."""
        return self.saves_model_of(name) or name in self.prepared.recipe.kept_weights


def how_complete(replicate: Replicate, name: str) -> Literal["finished", "failed", "begun"]:
    """How far the journal has come with the arm `name`; one of which nothing is written counts as begun."""
    lines = replicate.journal_of(name).records()
    if name == UNTOUCHED:
        sampling = replicate.prepared.recipe.measures.sampling
        written, true = (
            sum(line["kind"] == kind.__name__ for line in lines) for kind in (Continuation, TrueContinuation)
        )
        whole = written == sampling.prompts * sampling.draws and true == sampling.prompts
        return "finished" if whole else "begun"
    last = lines[-1]["kind"] if lines else ""
    return "finished" if last == ArmFinished.__name__ else "failed" if last == ArmFailed.__name__ else "begun"


def expect_nothing_of(replicate: Replicate, name: str) -> None:
    """Leave the arm `name` out of the time that is left, where it need not be trained."""
    complete, store = how_complete(replicate, name), replicate.store
    kept = (
        store is not None
        and not replicate.needs_training(name)
        and store.holds(store.key(replicate.prepared, name, replicate.seed))
    )
    if complete == "finished" or (complete == "failed" and not replicate.retry_failed) or kept:
        replicate.time_left.forget(replicate.journal_of(name).place)


def take_from_store(replicate: Replicate, name: str) -> bool:
    """Whether the records of this arm could be taken from an earlier run; if so, they are in the journal now."""
    store = replicate.store
    if store is None or replicate.needs_training(name):
        return False
    kept = store.find(store.key(replicate.prepared, name, replicate.seed))
    if kept is None:
        return False
    if name:
        replicate.progress.say(f"Arm {name}, {replicate.title}: taken from an earlier run ({kept.trained_by})")
    replicate.begin_anew(name)
    journal = replicate.journal_of(name)
    for line in kept.lines:
        # By this run itself, or this unit of it, where a machine was lost after it had kept the arm.
        trained_by = "" if kept.trained_by == store.origin else kept.trained_by
        origin = {"reused_from": trained_by} if line["kind"] == ArmStarted.__name__ else {}
        journal.append_again({**line, **origin})
    return True


def keep_in_store(replicate: Replicate, name: str) -> None:
    """Keep the arm's records for later runs."""
    store, lines = replicate.store, replicate.journal_of(name).lines()
    if store is None or not lines:
        return
    try:
        store.keep(store.key(replicate.prepared, name, replicate.seed), lines)
    except CacheError as error:
        replicate.progress.say(f"Not kept for later runs: {error}")
