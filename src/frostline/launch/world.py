"""Which processes has torchrun started, and how do they reach one another?

`torchrun --nproc-per-node N -m frostline run RECIPE` starts N of them, each of which finds its rank and the address of
rank 0 in its environment. Rank 0 does what the command says, the others follow it (`launch.following`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from frostline.arms import not_with_shards
from frostline.engine import ALONE, World
from frostline.errors import ProcessLostError, RecipeError
from frostline.interruption import Interruption
from frostline.recipe import Recipe, variants_of
from frostline.started import how_started

ANSWER_LIMIT = timedelta(minutes=10)
"""How long a process may keep the others waiting in what they do together: one that hangs ends the run."""
ORDER_LIMIT = timedelta(days=30)
"""How long the others wait for what rank 0 does alone, such as writing text. One that has gone they notice at once."""


@contextmanager
def launched_world(interruption: Interruption | None) -> Iterator[World]:
    """The processes that were started together with this one; it alone where it was started alone.

    When the block of rank 0 ends, however it does, the others have no more orders. Raises `ProcessLostError` where they
    do not find one another.
    """
    started = how_started()
    if started.size == 1:
        yield ALONE
        return
    on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    if torch.cuda.is_available() and started.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(started.local_rank)  # 'cuda' is this one from now on
    try:
        store, rank, size = next(rendezvous("env://", timeout=ANSWER_LIMIT))
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=ANSWER_LIMIT)
    except (RuntimeError, ValueError) as error:
        raise ProcessLostError(
            "the processes that were started to compute together do not find one another.",
            "Start them with torchrun; on several machines name one with --rdzv-endpoint HOST:PORT.",
        ) from error
    interruption = interruption or Interruption()
    world = World(
        rank=dist.get_rank(),
        size=dist.get_world_size(),
        orders=_group("gloo", ORDER_LIMIT),
        answers=_group("gloo", ANSWER_LIMIT),
        gradients=_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo", ANSWER_LIMIT),
        store=store,
        deferred=interruption.deferred,
        stop_asked=lambda: None if (code := interruption.exit_code) is None else code - 128,
        stop=interruption.ask,
    )
    # The groups are not destroyed at the end, which would wait for processes that have gone: they go with this one.
    try:
        yield world
    finally:
        with suppress(ProcessLostError):
            world.end()


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


def _group(backend: str, limit: timedelta) -> dist.ProcessGroup:
    group = dist.new_group(backend=backend, timeout=limit)
    assert isinstance(group, dist.ProcessGroup)
    return group
