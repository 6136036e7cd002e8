"""What is kept of an arm that several processes hold together? Of each process its own state, and one list of them all.

`FOLDER/shards/NAME/0000` is what process 0 holds, sealed by itself, and so on; each is an `ArmState` of rows. The list
lies in the sealed folder `FOLDER/NAME`, which the leading process writes last, once all others have told it what they
wrote: without it, or where a shard is not the one that it lists, there is no checkpoint. Rows are those of one number
of processes; another number gets them only where it asks for them to be divided anew, and then with other bits.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from frostline.engine.arm import Arm
from frostline.engine.checkpoint import (
    WEIGHT,
    ArmState,
    read_state,
    restore_own,
    restore_tensors,
    weights_of,
    write_state,
)
from frostline.engine.sharding import ShardedWeights
from frostline.engine.shards import own_rows
from frostline.errors import RunFolderError
from frostline.storage import SEAL_FILE, Facts, SealBrokenError, file_sha256, open_sealed, seal, write_file

LIST_FILE = "shards.json"
SHARD_FOLDER = "shards"
DIVISIBLE = (WEIGHT, "exp_avg", "exp_avg_sq")
"""What has one row for each row of a parameter; of the moments in 8 bits a block lies across rows."""


class _List(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    processes: int
    sha256: list[str]
    """SHA-256 of the manifest of each shard, by rank."""


def write_shard(state: ArmState, folder: Path, name: str, rank: int) -> str:
    """Seal what process `rank` holds in checkpoint `name` of `folder`; SHA-256 of its manifest, for `write_list`.

    Raises `OSError`.
    """
    place, key = folder / SHARD_FOLDER / name, _key(rank)

    def write(new: Path) -> Facts:
        write_state(state, new)
        return {"steps": state.steps, "process": rank}

    shutil.rmtree(place / key, ignore_errors=True)  # of an attempt that was never listed
    seal(place, key, write)
    return file_sha256(place / key / SEAL_FILE)


def write_list(new: Path, sha256: Sequence[str]) -> None:
    """Write into `new`, the folder that becomes the checkpoint, what its shards are. Raises `OSError`."""
    listed = _List(processes=len(sha256), sha256=list(sha256))
    write_file(new / LIST_FILE, listed.model_dump_json(indent=1).encode())


def read_shards(folder: Path, name: str, ranks: Sequence[int] | None = None) -> tuple[int, list[ArmState]]:
    """How many processes wrote checkpoint `name` of `folder`, and what those of `ranks` held; None: all of them.

    Raises `RunFolderError` where anything is not as it was listed.
    """
    try:
        listed = _List.model_validate_json((folder / name / LIST_FILE).read_bytes())
        wanted = range(listed.processes) if ranks is None else [rank for rank in ranks if rank < listed.processes]
        states = []
        for rank in wanted:
            shard = open_sealed(folder / SHARD_FOLDER / name, _key(rank)).folder
            _require_listed(listed, rank, shard)
            states.append(read_state(shard))
    except (OSError, ValidationError, SealBrokenError) as error:
        raise RunFolderError(f"{folder / name}: not a checkpoint ({str(error).splitlines()[0]}).") from error
    return listed.processes, states


def require_shards(folder: Path, name: str) -> list[str]:
    """What is listed of checkpoint `name` of `folder`, every shard being there to the byte; without loading any.

    Raises `RunFolderError` where it is not.
    """
    try:
        listed = _List.model_validate_json((folder / name / LIST_FILE).read_bytes())
        for rank in range(listed.processes):
            _require_listed(listed, rank, open_sealed(folder / SHARD_FOLDER / name, _key(rank)).folder)
    except (OSError, ValidationError, SealBrokenError) as error:
        raise RunFolderError(f"{folder / name}: not a checkpoint ({str(error).splitlines()[0]}).") from error
    return listed.sha256


def is_sharded(folder: Path, name: str) -> bool:
    """Whether several processes wrote checkpoint `name` of `folder`."""
    return (folder / name / LIST_FILE).is_file()


def remove_shards(folder: Path, kept: Sequence[str]) -> None:
    """Remove the shards of checkpoints that are not among `kept`; those that were never listed, too."""
    place = folder / SHARD_FOLDER
    for path in place.iterdir() if place.is_dir() else ():
        if path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)


def restore_shard(arm: Arm, folder: Path, name: str, *, accept_changes: bool = False) -> None:
    """Bring `arm`, just made and sharded, to checkpoint `name`: every process of it at the same time.

    Raises `RunFolderError` where another number of processes wrote it, unless `accept_changes`: then each process gets
    its rows of what all of them held. Bits are from there on what neither number would have given.
    """
    shards = sharded_weights(arm)
    processes, states = read_shards(folder, name, [shards.rank])
    if processes == shards.size:
        restore_own(arm, states[0])
        return
    if not accept_changes:
        raise RunFolderError(
            f"the checkpoint was written by {processes} processes, each of which held its rows of the weights; "
            f"{shards.size} would get other bits.",
            f"Start {processes} processes, or accept other bits with --accept-changes.",
        )
    _, states = read_shards(folder, name)
    whole = joined(states)
    tensors = {key: _rows_of(own, shards) for key, own in whole.tensors.items()}
    restore_tensors(arm, replace(whole, tensors=tensors))
    # Rows are hashed as this process has them; what they were when they froze, the others' seals have shown.
    arm.applied.set_step(whole.steps - 1)
    arm.applied.restore_frozen_sha256(arm.applied.frozen_sha256(), whole.moved, whole.steps - 1)


def joined(states: Sequence[ArmState]) -> ArmState:
    """What all processes held, by rank, as one state of whole tensors; without hashes of what is frozen."""
    first = states[0]
    tensors = {key: _joined(key, [state.tensors[key] for state in states]) for key in first.tensors}
    moved = list(dict.fromkeys(name for state in states for name in state.moved))
    return ArmState(first.steps, tensors, {}, moved)


def whole_weights(arm: Arm, steps: int) -> ArmState | None:
    """What `weights_of` gives of an arm that nobody else holds: for the leading process; the others get None.

    Every process of the arm calls it at the same time.
    """
    shards = sharded_weights(arm)
    found = {}
    for name, whole in shards.weights(arm.applied.trained_until(max(0, steps - 1))):
        if shards.rank == 0:
            found[f"{WEIGHT}/{name}"] = whole.cpu()
    return replace(weights_of(arm, steps), tensors=found, frozen_sha256={}) if shards.rank == 0 else None


def sharded_weights(arm: Arm) -> ShardedWeights:
    """The weights of an arm that was sharded (`shard_arm`)."""
    assert isinstance(arm.shards, ShardedWeights)
    return arm.shards


def _joined(key: str, pieces: Sequence[Tensor]) -> Tensor:
    if pieces[0].dim() == 0:
        return pieces[0]
    if key.partition("/")[0] not in DIVISIBLE:
        raise RunFolderError(
            "the moments of its optimizer are in 8 bits, which cannot be divided anew.",
            "Start as many processes as wrote the checkpoint.",
        )
    return torch.cat(list(pieces))


def _rows_of(whole: Tensor, shards: ShardedWeights) -> Tensor:
    return whole if whole.dim() == 0 else own_rows(whole, shards.rank, shards.size)


def _require_listed(listed: _List, rank: int, shard: Path) -> None:
    if file_sha256(shard / SEAL_FILE) != listed.sha256[rank]:
        raise RunFolderError(f"{shard}: it is not the shard that the checkpoint lists.")


def _key(rank: int) -> str:
    return f"{rank:04}"
