"""Who else needs the GPU? A process that measures memory, which finds none while this one still holds its model."""

from __future__ import annotations

from dataclasses import replace

import torch

from frostline.arms.prepared import Prepared
from frostline.engine import give_back_device_memory, on_device

HOST = torch.device("cpu")


def leave_device(prepared: Prepared) -> Prepared:
    """`prepared` for what is left to do where nothing is computed any more: on a GPU its memory is given back.

    Model and judge are on the host then, and what arms had in common is let go of. On a CPU nothing happens.
    """
    if prepared.device.type != "cuda":
        return prepared
    prepared.identity.let_go()
    for model in [prepared.model] + ([] if prepared.judge is None else [prepared.judge.model]):
        on_device(model, HOST)
    give_back_device_memory(prepared.device)
    return replace(prepared, shared=None)
