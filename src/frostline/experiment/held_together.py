"""What do several processes do with an arm whose weights they hold together? Rank 0 orders it, all of them take part.

No process has such an arm whole: to measure it, to read a weight, to hash what it has trained or to save it, all must
do the same at the same time. Each function here is what rank 0 calls; `take_part` is what the others do by its order.
Of an arm that each process has whole they do what one process does alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from frostline.arms import compared, require_same_weights
from frostline.engine import (
    Arm,
    ArmState,
    Values,
    World,
    restore_shard,
    sharded_weights,
    state_of,
    weights_of,
    whole_weights,
    write_shard,
)
from frostline.errors import ProcessesDifferError, RunFolderError
from frostline.measures import weights_sha256
from frostline.plans import FrozenCheck
from frostline.run_folder import RECIPE_FILE
from frostline.storage import require_room

SHARED_FOLDER = "All processes must see the run folder: choose one with --out that all machines share."


@dataclass(frozen=True)
class WeightsAtTheEnd:
    """What an arm has trained, all processes agreeing on it."""

    sha256: str
    optimizer_bytes: int
    """Of all processes that hold the arm together."""


def for_evaluation(arm: Arm) -> AbstractContextManager[object]:
    """A block in which `arm` can be run by all processes at once; each of them is in it."""
    return nullcontext() if arm.shards is None else sharded_weights(arm).whole_outside()


@contextmanager
def whole_for_text(arm: Arm) -> Iterator[None]:
    """In the block rank 0 has the whole model and can write text with it, for as long as that takes."""
    if arm.shards is None:
        yield
        return
    with arm.world.doing({"do": "whole for text", "arm": arm.number}, patient=True), sharded_weights(arm).all_whole():
        yield


@contextmanager
def whole_layer(arm: Arm, layer: int | None) -> Iterator[None]:
    """In the block rank 0 has all weights of one decoder layer (None: those outside), to read them by their names."""
    if arm.shards is None or (layer is not None and layer < sharded_weights(arm).lowest):
        yield
        return
    order: Values = {"do": "whole layer", "arm": arm.number, "layer": layer}
    with arm.world.doing(order), sharded_weights(arm).whole_layer(layer):
        yield


def verified(arm: Arm) -> FrozenCheck:
    """What `AppliedPlan.verify` gives, over what all processes hold."""
    if arm.shards is None:
        return arm.applied.verify()
    with arm.world.doing({"do": "verify", "arm": arm.number}):
        return sharded_weights(arm).verify()


def weights_at_the_end(arm: Arm) -> WeightsAtTheEnd:
    """The hash of what `arm` has trained. Raises `ProcessesDifferError` unless all processes find the same."""
    if arm.shards is None:
        sha256 = weights_sha256(arm.applied.trainable_parameters())
        require_same_weights(arm, sha256)
        return WeightsAtTheEnd(sha256, arm.optimizer_bytes())
    with arm.world.doing({"do": "compare", "arm": arm.number}) as together:
        together.own = compared(arm)
    found = {str(answer["weights"]) for answer in together.all}
    if len(found) > 1:
        raise ProcessesDifferError(
            f"arm {arm.name}: the processes that hold it together do not read the same weights.",
            "They must run on machines of one kind, with the same versions.",
        )
    held = [answer["optimizer_bytes"] for answer in together.all]
    return WeightsAtTheEnd(found.pop(), sum(own for own in held if isinstance(own, int)))


def trained_weights(arm: Arm, steps: int) -> ArmState:
    """What `weights_of` gives, its tensors whole."""
    if arm.shards is None:
        return weights_of(arm, steps)
    with arm.world.doing({"do": "whole weights", "arm": arm.number, "steps": steps}):
        state = whole_weights(arm, steps)
    assert state is not None, "rank 0 is given it"
    return state


def require_shared_folder(world: World, run_folder: Path) -> None:
    """Raise `RunFolderError` where a process does not see the run folder, in which each is to save its rows."""
    with world.doing({"do": "see", "folder": str(run_folder.absolute())}) as together:
        together.own = seen(run_folder)
    for rank, answer in enumerate(together.all):
        if not answer["seen"]:
            raise RunFolderError(
                f"{run_folder}: process {rank}, which is to save its rows of the weights there, does not see it.",
                SHARED_FOLDER,
            )


def seen(run_folder: Path) -> Values:
    """Whether this process sees the run folder that rank 0 has made."""
    return {"seen": (run_folder / RECIPE_FILE).is_file()}


def save_shards(arm: Arm, steps: int, folder: Path, name: str) -> Sequence[str]:
    """Let each process seal its rows in checkpoint `name` of `folder`; SHA-256 of their manifests, by rank.

    There is no checkpoint yet: `write_list` makes one of them. Raises `RunFolderError` where one could not be written.
    """
    folder = folder.absolute()
    require_room(folder, arm.world.size * state_of(arm, steps).bytes, "the next checkpoint")
    folder.mkdir(parents=True, exist_ok=True)
    order: Values = {"do": "save shard", "arm": arm.number, "steps": steps, "folder": str(folder), "name": name}
    with arm.world.doing(order) as together:
        together.own = _saved(arm, steps, folder, name)
    for rank, answer in enumerate(together.all):
        if answer["trouble"]:
            raise RunFolderError(
                f"{folder}: process {rank} could not save its rows: {answer['trouble']}.", SHARED_FOLDER
            )
    return [str(answer["sha256"]) for answer in together.all]


def restore_shards(arm: Arm, folder: Path, name: str, *, accept_changes: bool) -> None:
    """Bring `arm`, just made, to checkpoint `name` of `folder`: see `restore_shard`."""
    folder = folder.absolute()
    order: Values = {
        "do": "restore shard",
        "arm": arm.number,
        "folder": str(folder),
        "name": name,
        "accept_changes": accept_changes,
    }
    with arm.world.doing(order):
        restore_shard(arm, folder, name, accept_changes=accept_changes)


TOGETHER = frozenset(
    {"whole for text", "whole layer", "verify", "whole weights", "save shard", "restore shard"}
)  # fmt: skip
"""Orders that `take_part` knows."""


def take_part(world: World, order: Values, arm: Arm) -> None:
    """Do what rank 0 does with `arm`, by one of the orders `TOGETHER`."""
    what, shards = order["do"], sharded_weights(arm)
    with world.doing(order, patient=what == "whole for text") as together:
        match what:
            case "whole for text":
                shards.give_whole()  # then rank 0 has all, and this one waits with its rows alone
            case "whole layer":
                layer = order["layer"]
                assert layer is None or isinstance(layer, int)
                with shards.whole_layer(layer):
                    pass
            case "verify":
                shards.verify()
            case "whole weights":
                whole_weights(arm, _steps(order))
            case "save shard":
                together.own = _saved(arm, _steps(order), Path(str(order["folder"])), str(order["name"]))
            case _:
                folder, accepted = Path(str(order["folder"])), bool(order["accept_changes"])
                restore_shard(arm, folder, str(order["name"]), accept_changes=accepted)


def _saved(arm: Arm, steps: int, folder: Path, name: str) -> Values:
    try:
        if not folder.is_dir():
            return {"sha256": "", "trouble": "it does not see the folder"}
        return {"sha256": write_shard(state_of(arm, steps), folder, name, arm.world.rank), "trouble": ""}
    except OSError as error:
        return {"sha256": "", "trouble": error.strerror or type(error).__name__}


def _steps(order: Values) -> int:
    steps = order["steps"]
    assert isinstance(steps, int)
    return steps
