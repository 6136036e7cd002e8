"""What do one step's parts cost on this machine? Measured on a model cut down to a few of its layers.

Layers of one kind (the same roles train in them) cost the same, so that two depths tell what one more layer costs and
what is left without it: embeddings, head, loss. The cut model keeps the real widths, vocabulary, windows and engine.
Where even that is too much, passes over fewer tokens stand for it (`small_passes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from frostline.arms import Prepared, make_arm, trained_values
from frostline.corpus import Batch
from frostline.engine import Arm, PhaseSeconds, keep_freed_memory, saved_bytes
from frostline.forecast.cut import Roles, StepParts, cut_prepared, kinds_of_layers
from frostline.forecast.head import head_cost
from frostline.forecast.small_passes import SmallPasses, update_seconds
from frostline.plans import decoder_stack

ROUNDS = 5
"""Timed steps at each depth, in turns, after one that warms up."""
MOST_LAYERS_ADDED = 4
LARGEST_SHARE_OF_MEMORY = 0.25
"""Share of the free memory that a cut model in training may take."""
BYTES_PER_TRAINED_WEIGHT = 18
"""Weight, its bf16 copy, gradient and two moments."""


def calibrate_arm(
    prepared: Prepared, name: str, batch: Batch, free_bytes: int, small: SmallPasses | None = None
) -> StepParts:
    """One pass of the arm `name` over `batch`, put together from passes of cut models: `small` ones, if given."""
    keep_freed_memory()
    resolved = prepared.arms[name].resolved
    kinds = kinds_of_layers(resolved)
    lowest = resolved.prefix_layers if kinds else resolved.layers - 1
    places: dict[Roles, list[int]] = {}
    for offset, kind in enumerate(kinds):
        places.setdefault(kind, []).append(resolved.prefix_layers + offset)
    if small is not None:
        return _from_small_passes(small, prepared, name, batch, lowest, places, kinds)
    added = _layers_to_add(prepared, free_bytes)
    arms = [_cut_arm(prepared, name, [lowest])]
    for layers in places.values():
        arms.append(_cut_arm(prepared, name, [lowest] + [layers[index % len(layers)] for index in range(added)]))
    alone, *deeper = _measure(arms, batch)
    total = alone
    for (kind, layers), parts in zip(places.items(), deeper, strict=True):
        count = len(layers) - (kind == kinds[0])  # the lowest is in `alone` already
        total = total.plus(parts.beyond(alone), count / added)
    return total


def _from_small_passes(
    passes: SmallPasses,
    prepared: Prepared,
    name: str,
    batch: Batch,
    lowest: int,
    places: dict[Roles, list[int]],
    kinds: list[Roles],
) -> StepParts:
    """A pass by what one layer takes, one more of each kind, and the rest of the head; the update by its rate."""
    alone = passes.measure(prepared, name, batch, [lowest])
    total = alone
    for kind, layers in places.items():
        count = len(layers) - (kind == kinds[0])
        if count:
            deeper = passes.measure(prepared, name, batch, [lowest, layers[-1]])
            total = total.plus(deeper.beyond(alone), count)
    head = head_cost(prepared, name, passes.rows)
    more = head.pass_seconds + batch.input_ids.size * head.token_seconds
    total = total.plus(StepParts(more, 0.0, head.saved_bytes), 1)
    trained = trained_values(prepared.arms[name].resolved)
    return replace(total, optimizer_seconds=update_seconds(prepared.recipe.training, trained, prepared.device))


def _layers_to_add(prepared: Prepared, free_bytes: int) -> int:
    _, stack = decoder_stack(prepared.model)
    layer_bytes = BYTES_PER_TRAINED_WEIGHT * sum(parameter.numel() for parameter in stack[0].parameters())
    return max(1, min(MOST_LAYERS_ADDED, int(LARGEST_SHARE_OF_MEMORY * free_bytes / max(1, layer_bytes))))


def _cut_arm(prepared: Prepared, name: str, layers: Sequence[int]) -> Arm:
    cut = cut_prepared(prepared, name, layers)
    return make_arm(cut, cut.arms[name], cut.recipe.seeds[0])


def _measure(arms: Sequence[Arm], batch: Batch) -> list[StepParts]:
    for arm in arms:
        arm.take_step(batch, 0)
    saved = [saved_bytes(arm, batch) for arm in arms]
    phases: list[list[PhaseSeconds]] = [[] for _ in arms]
    for turn in range(ROUNDS):
        for index in range(len(arms)) if turn % 2 == 0 else reversed(range(len(arms))):
            phases[index].append(arms[index].take_step(batch, 0).phases)
    return [
        StepParts(
            # The least, not the mean: whatever else the machine does adds to a step, and a difference between two
            # depths would multiply it by the number of layers.
            pass_seconds=min(phase.forward + phase.backward for phase in own),
            optimizer_seconds=min(phase.optimizer for phase in own),
            saved_bytes=kept,
        )
        for own, kept in zip(phases, saved, strict=True)
    ]
