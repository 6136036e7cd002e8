"""What of an arm must be kept so that it goes on with the very same bits? What it has trained, and its optimizer.

Everything else follows from the recipe: frozen weights are the base model's, order and dropout are functions of seed
and step, the learning rate is one of the step, and no generator outlives a step. A state is taken between two steps, so
that no accumulation is ever in progress in it. On disk it is safetensors and JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from frostline.engine.arm import Arm
from frostline.engine.optimizer import restore_state, saved_state
from frostline.engine.world import Values
from frostline.errors import RunFolderError
from frostline.storage import write_file

STATE_FILE = "arm.json"
TENSOR_FILES = "tensors-{:04}.safetensors"
SHARD_BYTES = 256_000_000
"""Bytes of one file of tensors at most: more is never held twice in memory."""
WEIGHT = "weight"


class _StateFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    steps: int
    frozen_sha256: dict[str, str]
    moved: list[str]


@dataclass(frozen=True)
class ArmState:
    """An arm between two steps. Tensors may share memory with the arm: write them before it goes on."""

    steps: int
    """Steps taken so far."""
    tensors: dict[str, Tensor]
    """`weight/NAME` for whatever trained so far, and `exp_avg/NAME` and so on of what trains now."""
    frozen_sha256: dict[str, str]
    """SHA-256 of each portion that is frozen now, as it was when it was frozen."""
    moved: list[str]
    """Portions that were found to have moved while they were frozen; empty unless something is broken."""

    @property
    def bytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())

    @property
    def weights(self) -> dict[str, Tensor]:
        """Whatever trained so far, by its name in the arm: without the optimizer's state."""
        beginning = f"{WEIGHT}/"
        return {key.removeprefix(beginning): own for key, own in self.tensors.items() if key.startswith(beginning)}


def state_of(arm: Arm, steps: int) -> ArmState:
    """The state of `arm` after `steps` steps."""
    tensors = {
        f"{WEIGHT}/{name}": parameter.detach() for name, parameter in arm.applied.trained_until(max(0, steps - 1))
    }
    for name, parameter in arm.applied.trainable_parameters():
        for key, value in saved_state(arm.optimizer, parameter):
            tensors[f"{key}/{name}"] = value
    return ArmState(steps, tensors, arm.applied.frozen_sha256(), arm.applied.moved)


def weights_of(arm: Arm, steps: int) -> ArmState:
    """The state of `arm` after its last step without the optimizer: `arm` cannot go on from it."""
    state = state_of(arm, steps)
    return replace(state, tensors={f"{WEIGHT}/{name}": own for name, own in state.weights.items()})


def restore(arm: Arm, state: ArmState) -> None:
    """Bring `arm`, just made, to `state`, in all processes that compute it.

    Raises `RunFolderError` where the state belongs to another arm.
    """
    if arm.world.alone:
        restore_own(arm, state)
        return
    order: Values = {
        "do": "restore",
        "arm": arm.number,
        "steps": state.steps,
        "frozen_sha256": state.frozen_sha256,
        "moved": state.moved,
    }
    with arm.world.doing(order, state.tensors):
        restore_own(arm, state)


def ordered_state(order: Values, tensors: dict[str, Tensor]) -> ArmState:
    """The state that another process restores."""
    facts = _StateFile.model_validate({key: order[key] for key in _StateFile.model_fields})
    return ArmState(facts.steps, tensors, facts.frozen_sha256, facts.moved)


def restore_own(arm: Arm, state: ArmState) -> None:
    """What `restore` does in each process."""
    restore_tensors(arm, state)
    try:
        arm.applied.restore_frozen_sha256(state.frozen_sha256, state.moved, state.steps - 1)
    except ValueError as error:
        raise RunFolderError(f"the checkpoint does not fit this arm: {error}.") from error


def restore_tensors(arm: Arm, state: ArmState) -> None:
    """The same without what is known of frozen weights: their hashes are those of before."""
    last_step = state.steps - 1
    arm.follow_plan(last_step)
    weights = dict(arm.applied.trained_until(last_step))
    with torch.no_grad():
        for name, parameter in weights.items():
            parameter.copy_(_fitting(state, f"{WEIGHT}/{name}", parameter))
    known = {f"{WEIGHT}/{name}" for name in weights}
    for name, parameter in arm.applied.trainable_parameters():
        own = [key for key in state.tensors if key.partition("/")[2] == name and key not in known]
        known.update(own)
        if own:
            saved = {key.partition("/")[0]: state.tensors[key] for key in own}
            restore_state(arm.optimizer, parameter, saved)
    foreign = sorted(set(state.tensors) - known)
    if foreign:
        raise RunFolderError(f"the checkpoint holds '{foreign[0]}', which this arm does not train.")


def write_state(state: ArmState, folder: Path) -> None:
    """Write `state` into the empty `folder`, flushed to the disk. Raises `OSError`."""
    for index, shard in enumerate(_shards(state.tensors)):
        _require_memory_for(shard)
        write_file(folder / TENSOR_FILES.format(index), safetensors.torch.save(shard))
    facts = _StateFile(steps=state.steps, frozen_sha256=state.frozen_sha256, moved=state.moved)
    write_file(folder / STATE_FILE, json.dumps(facts.model_dump(), indent=1).encode())


def read_state(folder: Path) -> ArmState:
    """The state that `write_state` wrote. Raises `RunFolderError` where it cannot be understood."""
    try:
        facts = _StateFile.model_validate_json((folder / STATE_FILE).read_bytes())
        tensors: dict[str, Tensor] = {}
        for path in sorted(folder.glob("*.safetensors")):
            tensors |= safetensors.torch.load_file(path)
    except (OSError, ValidationError, safetensors.SafetensorError) as error:
        raise RunFolderError(f"{folder}: not a checkpoint ({str(error).splitlines()[0]}).") from error
    return ArmState(facts.steps, tensors, facts.frozen_sha256, facts.moved)


def _fitting(state: ArmState, key: str, parameter: Tensor) -> Tensor:
    value = state.tensors.get(key)
    if value is None or value.shape != parameter.shape:
        found = "it is missing" if value is None else f"its shape is {list(value.shape)}"
        raise RunFolderError(
            f"the checkpoint does not fit this arm: '{key}' has shape {list(parameter.shape)}, {found}."
        )
    return value


def _require_memory_for(shard: dict[str, Tensor]) -> None:
    """Raise what torch raises where memory has no room for the bytes of a file and of its tensors.

    Written in Rust, safetensors would end the process.
    """
    torch.empty(2 * sum(tensor.nbytes for tensor in shard.values()), dtype=torch.uint8)


def _shards(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors in their order, cut into files of about `SHARD_BYTES`."""
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        shard[name] = tensor.contiguous()
        size += tensor.numel() * tensor.element_size()
        if size >= SHARD_BYTES:
            yield shard
            shard, size = {}, 0
    if shard:
        yield shard
