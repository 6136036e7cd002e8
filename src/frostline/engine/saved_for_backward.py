"""What does a forward pass keep for its backward pass? Bytes, weights aside."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor

from frostline.corpus import Batch
from frostline.engine.arm import Arm
from frostline.engine.clock import StepClock


def saved_bytes(arm: Arm, batch: Batch) -> int:
    """What a forward pass keeps for its backward pass; weights do not count, memory that is shared counts once."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in arm.model.parameters()}
    kept: weakref.WeakSet[_Saved] = weakref.WeakSet()

    def pack(tensor: Tensor) -> _Saved:
        saved = _Saved(tensor)
        kept.add(saved)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
        loss = arm.forward(batch, 0, 1, StepClock(arm.device))
    # Counted after the forward pass: what only a part of it kept, such as one chunk of the loss, is freed by now.
    storages = [saved.tensor.untyped_storage() for saved in kept]
    found = {storage.data_ptr(): storage.nbytes() for storage in storages if storage.data_ptr() not in weights}
    del loss
    return sum(found.values())


class _Saved:
    """A tensor that is kept for the backward pass, for as long as the graph keeps it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
