"""What do the processes do that rank 0 leads? What it orders, until it has no more orders; nothing of their own.

They write no journal, no checkpoint and no word. What goes wrong in one of them rank 0 hears at once, and decides what
becomes of it.
"""

from __future__ import annotations

import gc
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from frostline.arms import (
    Prepared,
    compared,
    fill,
    forget_other_windows,
    lean,
    make_ordered_arm,
    prepare_ordered,
    shared_parts,
)
from frostline.engine import (
    ALIVE,
    ALONE,
    Arm,
    Values,
    World,
    batch_of,
    give_back_device_memory,
    ordered_state,
    restore_own,
)
from frostline.errors import ProcessesDifferError, ToldError
from frostline.experiment import TOGETHER, UntouchedLosses, evaluate_arm, seen, take_part


def follow(world: World, cache: Path) -> None:
    """Do what rank 0 orders. Raises `ProcessLostError` where it, or another process, has gone."""
    with ExitStack() as closing:
        follower = Follower(world, cache, closing)
        while True:
            order, tensors = world.order()
            if world.over.is_set():
                return
            follower.let_go(order)
            with suppress(ToldError):
                follower.obey(order, tensors)


class Follower:
    """One process that follows: the variant that is prepared, and the arms that rank 0 holds."""

    def __init__(self, world: World, cache: Path, closing: ExitStack) -> None:
        self.world, self.cache, self._closing = world, cache, closing
        self._sharing: Prepared | None = None
        self._arms: dict[int, Arm] = {}

    def let_go(self, order: Values) -> None:
        """Let go of the arms that rank 0 holds no more, before their memory is wanted for others."""
        alive = order[ALIVE]
        assert isinstance(alive, list)
        gone = self._arms.keys() - set(alive)
        for number in gone:
            del self._arms[number]
        if gone:
            gc.collect()  # models of some families hold themselves in a circle
            if self._sharing is not None:
                give_back_device_memory(self._sharing.device)

    def obey(self, order: Values, tensors: dict[str, Tensor]) -> None:
        """Do what `order` says, together with all other processes."""
        match order["do"]:
            case "prepare":
                with self.world.doing(order, patient=True) as together:
                    self._closing.close()
                    self._arms.clear()
                    self._sharing = None
                    prepared, together.own = prepare_ordered(order, self.world, self.cache)
                    self._sharing = self._closing.enter_context(shared_parts(prepared, self.cache))
            case "fill":
                with self.world.doing(order, patient=True):
                    for _ in fill(replace(self.sharing, world=ALONE)):
                        pass
            case "make":
                if self.sharing.is_sharded:
                    self.world.held_together[_number(order)] = str(order["name"])
                with self.world.doing(order):
                    self._arms[_number(order)] = make_ordered_arm(self.sharing, order)
            case "restore":
                with self.world.doing(order):
                    restore_own(self._arms[_number(order)], ordered_state(order, tensors))
            case "compare":
                with self.world.doing(order) as together:
                    together.own = compared(self._arms[_number(order)])
            case "evaluate":
                arm, steps = self._arms[_number(order)], int(order["steps"])  # type: ignore[call-overload]
                evaluate_arm(self.sharing, arm, steps, trained=bool(order["trained"]))
            case "evaluate untouched":
                UntouchedLosses(self.sharing, trained=bool(order["trained"])).of(self._arms[_number(order)])
            case "step":
                batch = batch_of(order, tensors)
                forget_other_windows(self.sharing, batch)
                with lean(self.sharing, a_step=True):
                    self._arms[_number(order)].take_step(batch, int(order["step"]))  # type: ignore[call-overload]
            case "see":
                with self.world.doing(order) as together:
                    together.own = seen(Path(str(order["folder"])))
            case held if held in TOGETHER:
                take_part(self.world, order, self._arms[_number(order)])
            case unknown:
                raise ProcessesDifferError(f"process 0 orders '{unknown}', which this one does not know.")

    @property
    def sharing(self) -> Prepared:
        """The variant that was prepared last, with what its arms share."""
        assert self._sharing is not None
        return self._sharing


def _number(order: Values) -> int:
    number = order["arm"]
    assert isinstance(number, int)
    return number
