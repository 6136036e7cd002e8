"""What runs inside Ray? The functions that its tasks call."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import RayError

from frostline.engine import settle_device
from frostline.launch.part_folder import Beginning
from frostline.launch.part_work import Answer, Order, do_part
from frostline.launch.same_bits import computed_bits
from frostline.machine import describe_machine
from frostline.progress import UnitState


class _Writer:
    """Writes on the board without waiting for it; a board that is lost for a while is no reason to stop."""

    def __init__(self, board: Any, name: str) -> None:  # noqa: ANN401  # Ray's handle of an actor has no type
        self._board, self._name = board, name
        self._before: ray.ObjectRef[bool] | None = None

    def __call__(self, state: UnitState) -> bool:
        stops = False
        try:
            if self._before is not None and ray.wait([self._before], timeout=0)[0]:
                stops = bool(ray.get(self._before))
            self._before = self._board.write.remote(self._name, state)
        except RayError:
            self._before = None
        return stops


def part_task(order: Order, beginning: Beginning | None, board: object) -> Answer:
    """Do a part of an experiment."""
    return do_part(order, beginning, _Writer(board, order.part.name), ray.get_runtime_context().get_node_id())


def bits_task(order: Order) -> str:
    """Compute the short unit."""
    return computed_bits(order)


def look_task(device: str) -> dict[str, str]:
    """What machine this is for a run on `device`, with which versions."""
    settle_device(device)
    return describe_machine()
