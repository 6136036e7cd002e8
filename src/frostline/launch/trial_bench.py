"""What does a machine do that is asked for trials of an advice? It prepares the model once, then computes each trial.

Nothing here knows of Ray: orders are plain values, and so is what comes of them. A bench is a process of its own for
as long as the advice lasts, so that a trial of a few seconds does not pay for the model and the corpus each time.
Trials are compared with one another, and the prices of their plans with the machine of the driver: a machine of
another kind than that one computes none.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from frostline.advisor import Advised, TrialAsked, compute_trial, prepare_elsewhere, with_arms
from frostline.arms import Prepared, shared_parts
from frostline.cache import cache_folder, settle_other_caches, settle_temporary_files, usable_cache
from frostline.corpus import Batch
from frostline.engine import settle_device
from frostline.errors import FrostlineError, TrainingError
from frostline.launch.part_work import this_machine
from frostline.machine import describe_machine
from frostline.out_of_memory import MEMORY_ERRORS, is_out_of_memory, want_of_memory
from frostline.recipe import ArmSettings, Place, parse_recipe, trusting
from frostline.run_folder import KIND_FACTS, TrialFinished, VariantPrepared, changes_of_machine
from frostline.system import ask_for_huge_pages

Arms = Mapping[str, Mapping[str, object]]
"""Arms as a recipe has them, by name of candidate; nothing in them is left to compute."""


@dataclass(frozen=True)
class BenchOrder:
    """What an advice is on, and how its trials are computed."""

    folder: str
    """Folder of the advice, for sentences."""
    recipe: str
    """The resolved recipe."""
    recipe_folder: str
    """What its paths are relative to, absolute."""
    trusted_code: str | None
    facts: VariantPrepared
    """Model, corpus, precision and device, as the driver has them."""
    steps: int
    """Steps of the last rung."""
    threads: int
    machine: Mapping[str, str]
    """What is the same on all machines; see `comparable`."""
    cache: tuple[str, str]
    """The driver's cache folder, and which machine it is on: another one uses its own."""


@dataclass(frozen=True)
class BenchAnswer:
    """What became of an order."""

    trial: TrialFinished | None = None
    """The trial that was asked for."""
    error: FrostlineError | None = None
    """Why the advice cannot go on."""
    other_kind: bool = False
    """Whether the machine is of another kind than the driver's, so that it computes no trials."""


class TrialBench:
    """Computes trials of one advice. To be used in the main thread of its process."""

    def __init__(self, order: BenchOrder) -> None:
        self._order = order
        self._prepared: Prepared | None = None
        self._deciding: list[Batch] = []
        self._cache = Path()
        self._sharing: Prepared | None = None
        self._shared_by = ""
        self._parts = ExitStack()

    def prepare(self) -> BenchAnswer:
        """Prepare what the advice is on."""
        order = self._order
        try:
            settle_temporary_files()
            settle_other_caches()
            ask_for_huge_pages()
            torch.set_num_threads(order.threads)
            recipe = parse_recipe(order.recipe).placed(Place(Path(order.recipe_folder)))
            recipe = trusting(recipe, order.trusted_code)
            settle_device(recipe.training.device)
            if not is_of_kind(order.machine, describe_machine()):
                return BenchAnswer(other_kind=True)
            cache, home = order.cache
            self._cache = usable_cache(Path(cache)) if home == this_machine() else cache_folder()
            advised = Advised(Path(order.folder), recipe, order.facts, order.steps)
            self._prepared, self._deciding = prepare_elsewhere(advised, self._cache)
        except FrostlineError as error:
            return BenchAnswer(error=error)
        except MEMORY_ERRORS as error:
            if not is_out_of_memory(error):
                raise
            return BenchAnswer(error=TrainingError(f"{want_of_memory(error)}."))
        # Each trial collects what it leaves; what is there by now is passed over.
        gc.collect()
        gc.freeze()
        return BenchAnswer()

    def compute(self, arms: Arms, asked: TrialAsked) -> BenchAnswer:
        """Compute one trial of `arms`, whose frozen weights and stored rows stay for those that follow."""
        assert self._prepared is not None
        try:
            trial = compute_trial(self._shared(self._prepared, arms), asked, self._deciding)
            self._prepared.require_unchanged()
        except FrostlineError as error:
            return BenchAnswer(error=error)
        return BenchAnswer(trial)

    def _shared(self, prepared: Prepared, arms: Arms) -> Prepared:
        wanted = json.dumps(arms, sort_keys=True)
        if self._sharing is None or wanted != self._shared_by:
            self._sharing = None
            self._parts.close()
            settled = with_arms(prepared, {name: ArmSettings.model_validate(arm) for name, arm in arms.items()})
            self._sharing = self._parts.enter_context(shared_parts(settled, self._cache))
            self._shared_by = wanted
        return self._sharing


def comparable(machine: Mapping[str, str], device: str) -> dict[str, str]:
    """What of `machine`, as `describe_machine` has it, is the same wherever trials are computed on `device`."""
    # Ray hides the graphics processors of a machine from whoever asks for none.
    return {name: value for name, value in machine.items() if name != "gpu" or device != "cpu"}


def is_of_kind(driver: Mapping[str, str], machine: Mapping[str, str]) -> bool:
    """Whether `machine` is of the kind of the driver's. Raises `FrostlineError` where it has other versions."""
    versions = {name: value for name, value in driver.items() if name not in KIND_FACTS}
    if changes := changes_of_machine(versions, machine):
        raise FrostlineError(
            f"a machine of the cluster would give other bits than this one: {'; '.join(changes)}.",
            "Install the same versions on all machines.",
        )
    return not changes_of_machine(driver, machine)
