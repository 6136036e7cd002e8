"""Which stored rows will a run read? All of them are known before it: order is a pure function of seed and step.

So they can be made in one pass over the layers (`engine/prefix_fill.py`), after which nothing needs the frozen layers
at the bottom: windows of every step and seed, those of a race, and those that losses are measured on.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from frostline.arms.make import make_arm_of_base, shared_parts
from frostline.arms.prepared import PlannedArm, Prepared
from frostline.arms.rates import race_seed, trial_training
from frostline.corpus import Batch
from frostline.engine import (
    ALONE,
    FilledLayer,
    FillWindow,
    Prefix,
    fill_needs,
    fill_rows,
    give_back_freed_memory,
    held_in_fp32,
    is_filled,
    require_room_for_fill,
)
from frostline.errors import PlanError
from frostline.measures import EVALUATION_WINDOWS
from frostline.storage import let_go_of


def filled_layers(prepared: Prepared) -> int:
    """Layers that a fill goes through: those below the arm that starts highest; 0 where rows are not filled."""
    return max((arm.resolved.prefix_layers for arm in prepared.every_arm), default=0) if prepared.fills_rows else 0


def require_fill(prepared: Prepared, cache: Path) -> Prepared:
    """`prepared` with what was found out about its model; as it is, where rows are not filled.

    Raises `PlanError` where the model's rows cannot be filled, `CacheError` where there is no room for them.
    """
    if not filled_layers(prepared):
        return prepared
    with prepared.recipe.locating_errors(), shared_parts(prepared, cache) as sharing:
        assert sharing.shared is not None
        needs = fill_needs(_prefix(sharing), windows_to_fill(sharing), _depths(sharing))
        require_room_for_fill(sharing.shared.store, needs)
        return replace(prepared, fits=sharing.shared.fits)


def fill(prepared: Prepared, *, tell: Callable[[int, int], None] = lambda done, total: None) -> Iterator[FilledLayer]:
    """Make all rows that the run will read and that are not there, yielding each layer as it is done.

    A layer's weights are cast up once for all windows, and leave memory after it.
    """
    assert prepared.shared is not None
    windows, depths = windows_to_fill(prepared), _depths(prepared)
    if is_filled(prepared.shared.store, windows, depths):
        yield from (FilledLayer(layer, len(windows), 0, 0, 0.0) for layer in range(max(depths)))
        return
    prefix = _prefix(prepared)
    yield from fill_rows(prefix, windows, depths, tell=tell, layer_in_use=partial(_in_use, prefix))
    del prefix
    gc.collect()  # the arm that lent its model holds a cycle
    give_back_freed_memory()


@contextmanager
def _in_use(prefix: Prefix, layer: int) -> Iterator[None]:
    """The weights of a layer while all windows go through it."""
    parameters = list(prefix.layers[layer].parameters())
    with held_in_fp32(parameters) if prefix.precision == "fp32" else nullcontext():
        yield
    let_go_of(parameters)


def windows_to_fill(prepared: Prepared) -> list[FillWindow]:
    """Every window that an arm will read, once each."""
    found: dict[bytes, FillWindow] = {}
    for batch in _batches(prepared):
        for row in range(len(batch.input_ids)):
            window = FillWindow.of(*batch.at_own_width(row))
            found.setdefault(window.key, window)
    return list(found.values())


def _batches(prepared: Prepared) -> Iterator[Batch]:
    recipe, corpus = prepared.recipe, prepared.corpus
    training, size = recipe.training, recipe.training.batch * recipe.training.accumulation
    arms = prepared.every_arm
    steps = {seed: max(arm.steps for arm in arms) for seed in recipe.seeds}
    trials = [trial_training(training.of_steps(arm.steps), arm.resolved).steps for arm in arms if arm.raced]
    if trials:
        steps[race_seed(recipe)] = max(trials)
        yield from corpus.race_batches(EVALUATION_WINDOWS)
    for seed, last in steps.items():
        for step in range(last):
            yield corpus.batch(seed, step, size)
    yield from corpus.held_out_batches(EVALUATION_WINDOWS)
    yield from corpus.trained_sample(corpus.held_out_windows, EVALUATION_WINDOWS)
    if prepared.retention is not None:
        yield from prepared.retention.held_out_batches(EVALUATION_WINDOWS)


def _highest(prepared: Prepared) -> PlannedArm:
    return max(prepared.every_arm, key=lambda arm: arm.resolved.prefix_layers)


def _depths(prepared: Prepared) -> list[int]:
    """Depths at which some arm begins: what thaws below its frost line later keeps it from starting higher."""
    assert prepared.shared is not None
    return [depth for depth in prepared.shared.depths if depth <= filled_layers(prepared)]


def _prefix(prepared: Prepared) -> Prefix:
    """The bottom of the arm that starts highest: below, it holds every layer as all arms do."""
    planned = _highest(prepared)
    # Each process fills for itself.
    forward = make_arm_of_base(replace(prepared, world=ALONE), planned, prepared.recipe.seeds[0]).forward
    trial = forward.prefix_trial
    if forward.prefix is None or trial is None:
        refusal = forward.prefix_refusal or "the model has none that could be stored"
        raise PlanError(
            f"its frozen layers cannot be filled into the prefix cache: {refusal}.",
            "Set training.prefix_cache.fill=never where the whole model has room.",
        ).at("arms", planned.name)
    return forward.prefix
