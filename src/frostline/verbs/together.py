"""What does a verb do in processes that torchrun has started? Rank 0 does it, the others follow it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from frostline.errors import FrostlineError
from frostline.interruption import Interruption
from frostline.started import how_started, is_launched
from frostline.verbs.work import ProgressWanted, at_work, meant, watching

if TYPE_CHECKING:
    from frostline.engine import World
    from frostline.launch import RayAddress
    from frostline.recipe import GivenRecipe, Overrides, Recipe

Outcome = TypeVar("Outcome")


def led(
    do: Callable[[World | None], Outcome],
    cache: str | Path | None,
    interruption: Interruption | None = None,
    progress: ProgressWanted = False,
    *,
    followed: Callable[[], Outcome],
) -> Outcome:
    """What `do` returns; what `followed` does in a process that follows another one, which does it.

    `do` is given the processes that compute arms together, None where this one was started alone. `progress` is who is
    told that others are waited for.
    """
    if not is_launched():
        return do(None)
    how_started()  # what makes no sense is told before anything slow is loaded
    from frostline.launch import follow, launched_world

    listening = interruption or Interruption()
    with launched_world(listening, lambda sentence: watching(progress).say(sentence)) as world:
        if world.rank == 0:
            return do(world)
        # A signal to one of those that follow is told to rank 0 with its next answer, which stops all.
        with at_work(cache, False) as work, listening.deferred():
            follow(world, work.cache)
    return followed()


def meant_for(
    recipe: GivenRecipe,
    overrides: Overrides,
    trusted_code: str | None,
    world: World | None,
    *,
    advice: bool = False,
) -> Recipe:
    """The recipe that a verb is given, whose steps the processes can share; see `require_shares`.

    Raises as `meant`, and `RecipeError`.
    """
    wanted = meant(recipe, overrides, trusted_code)
    require_shares(wanted, world, advice=advice)
    return wanted


def require_shares(recipe: Recipe, world: World | None, *, advice: bool = False) -> None:
    """Raise `RecipeError` where the processes cannot share the steps of `recipe`, or its weights as it asks for."""
    if world is None and recipe.training.sharding != "full":
        return
    from frostline.engine import ALONE
    from frostline.launch import require_parts, require_shardable_runs

    require_shardable_runs(recipe, world or ALONE, advice=advice)
    if world is not None:
        require_parts(recipe, world)


def cluster_address(on: str | None) -> RayAddress | None:
    """The cluster that `on` means, told before anything slow is loaded. Raises `FrostlineError`."""
    if on is None:
        return None
    from frostline.launch import ray_address

    if is_launched():
        raise FrostlineError(
            "torchrun shares one arm among its processes, and --on shares out arms: one or the other.",
            "Leave out --on, or start 'frostline' without torchrun.",
        )
    return ray_address(on)
