"""How much memory does each arm take, alone? Measured after the run, in a process of its own for each.

What an earlier run measured for exactly the same arm is as good.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict
from datetime import date
from pathlib import Path

from pydantic import TypeAdapter

from frostline.arms import MemoryMeasure, Prepared, dated, measure_peak_memory
from frostline.errors import CacheError, TrainingError
from frostline.experiment.arm_store import ArmStore
from frostline.experiment.time_left import TimeLeft, Work, of_the_run
from frostline.loading import files_of
from frostline.progress import RunProgress
from frostline.run_folder import Journal, PeakMemory


def record_peaks(
    prepared: Prepared,
    known: Collection[str],
    cache: Path,
    journal: Journal,
    store: ArmStore | None,
    progress: RunProgress,
    time_left: TimeLeft,
) -> None:
    """Journal the peak memory of each arm whose is not `known`, alone in a process of its own.

    What cannot be measured is said, and left out.
    """
    for arm in prepared.arms:
        place = of_the_run(prepared.variant, arm)
        if arm in known:
            time_left.forget(place)
            continue
        if file := files_of(prepared.model).changed_or_replaced:
            progress.say(f"Not measured: {file} of the model is another one than the run has read.")
            time_left.forget(place)
            continue
        try:
            with time_left.doing(place, Work("memory", arm)):
                measured = _peak_of(prepared, arm, cache, store, progress)
        except TrainingError as error:
            progress.say(f"Not measured: {error}")
            continue
        journal.append(PeakMemory(prepared.variant, arm, **asdict(measured)))


def _peak_of(prepared: Prepared, arm: str, cache: Path, store: ArmStore | None, progress: RunProgress) -> MemoryMeasure:
    """Peak memory of `arm`; what an earlier run measured for exactly this arm is as good."""
    key = None if store is None else store.key(prepared, arm, prepared.recipe.seeds[0], what="memory")
    known = None if store is None or key is None else store.find(key)
    if known is not None:
        return TypeAdapter(MemoryMeasure).validate_python(known.lines[0])
    progress.say(f"Memory of {arm}, alone in a process of its own")
    training = prepared.recipe.training.of_steps(prepared.arms[arm].steps)
    recipe = prepared.recipe.model_copy(update={"training": training})
    if prepared.corpus.template_date is not None:
        recipe = dated(recipe, date.fromisoformat(prepared.corpus.template_date))
    measured = measure_peak_memory(recipe, arm, cache)
    if store is not None and key is not None:
        try:
            store.keep(key, json.dumps(asdict(measured)).encode())
        except CacheError as error:
            progress.say(f"Not kept for later runs: {error}")
    return measured
