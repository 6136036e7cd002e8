"""Which processes has torchrun started, and how do they reach one another?

`torchrun --nproc-per-node N -m frostline run RECIPE` starts N of them, each of which finds its rank and the address of
rank 0 in its environment. Rank 0 does what the command says, the others follow it (`launch.following`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch

from frostline.arms import not_with_shards
from frostline.engine import ALONE, World
from frostline.errors import ProcessLostError, RecipeError
from frostline.interruption import Interruption
from frostline.launch.meeting import meet, part
from frostline.recipe import Recipe, variants_of
from frostline.started import how_started


@contextmanager
def launched_world(
    interruption: Interruption | None, say: Callable[[str], None] = lambda sentence: None
) -> Iterator[World]:
    """The processes that were started together with this one; it alone where it was started alone.

    When the block of rank 0 ends, however it does, the others have no more orders. `say` is told where they are waited
    for. Raises `ProcessLostError` where they do not find one another.
    """
    started = how_started()
    if started.size == 1:
        yield ALONE
        return
    if torch.cuda.is_available() and started.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(started.local_rank)  # 'cuda' is this one from now on
    met = meet(started, say)
    interruption = interruption or Interruption()
    world = World(
        rank=met.rank,
        size=met.size,
        orders=met.orders,
        answers=met.answers,
        gradients=met.gradients,
        store=met.store,
        deferred=interruption.deferred,
        stop_asked=lambda: None if (code := interruption.exit_code) is None else code - 128,
        stop=interruption.ask,
    )
    try:
        yield world
    finally:
        with suppress(ProcessLostError):
            world.end()
        # Elsewhere the groups go with this process: to let go of them would wait for processes that have gone.
        if world.over.is_set():
            part(met)


def require_parts(recipe: Recipe, world: World) -> None:
    """Raise `RecipeError` where the parts of a step cannot be shared evenly, or a process has no device of its own."""
    parts, size = recipe.training.accumulation, world.size
    if world.alone:
        return
    with recipe.locating_errors():
        if parts % size:
            windows = recipe.training.batch * parts
            fits = f"training.accumulation={size} with training.batch={windows // size}"
            raise RecipeError(
                f"a step has {parts} part{'s' if parts > 1 else ''}, which {size} processes cannot share evenly.",
                f"Use {fits if windows % size == 0 else f'a multiple of {size}'}, or another number of processes.",
            ).at("training", "accumulation")
        device = recipe.training.device
        if device not in ("auto", "cpu", "cuda"):
            raise RecipeError(
                f"'{device}' names one GPU, and {size} processes want one each.", "Use 'auto' or 'cuda'."
            ).at("training", "device")
        gpus, local = torch.cuda.device_count(), how_started().local_size
        if device != "cpu" and torch.cuda.is_available() and local > gpus:
            raise RecipeError(
                f"{local} processes were started on this machine, which has {gpus} GPU{'s' if gpus > 1 else ''}.",
                f"Start {gpus}, or use 'cpu'.",
            ).at("training", "device")


def require_shardable_runs(recipe: Recipe, world: World, *, advice: bool = False) -> None:
    """Raise `RecipeError` where `recipe` asks for sharded weights and these processes cannot do with them what it says.

    `advice` trains arms of its own, which are not sharded yet.
    """
    for variant in variants_of(recipe):
        own = variant.recipe
        if own.training.sharding != "full":
            continue
        found = _without_shards(world, advice) or not_with_shards(own)
        if found is not None:
            with recipe.locating_errors():
                raise RecipeError(*found).at("training", "sharding")


def _without_shards(world: World, advice: bool) -> tuple[str, str] | None:
    """Why nothing can be sharded here, and what would work."""
    if world.alone:
        return (
            "'full' shares the weights among several processes, and this is one.",
            "Start several: torchrun --nproc-per-node N -m frostline run RECIPE; or set training.sharding=auto.",
        )
    if advice:
        return "an advice does not shard the weights of the plans that it tries.", "Set training.sharding=none."
    return None
