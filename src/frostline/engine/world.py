"""Which processes compute an arm together, and how do they agree? One process, or several of which rank 0 leads.

Rank 0 runs the experiment as if it were alone. What it does with an arm it orders the others to do as well (`doing`):
make it, restore it, take a step with it. They follow (`launch.following`): every decision is made once, wherever
it comes from: a journal, a clock, a disk. Nothing is pickled: orders are JSON and the bytes of tensors.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable
from weakref import WeakValueDictionary

import torch
import torch.distributed as dist
from torch import Tensor

from frostline.engine.turns import cause_of
from frostline.errors import MemoryRanOutError, ProcessLostError, TogetherError, ToldError, TrainingError
from frostline.out_of_memory import is_out_of_memory, want_of_memory

Values = dict[str, object]
"""What JSON can say, by name."""
ALIVE = "alive"
"""In every order: the numbers of the arms that rank 0 still holds. The others let go of the rest."""
_END = "end"
"""What is ordered when there are no more orders."""
ARRIVAL_SECONDS, LOOK_SECONDS = 10.0, 0.1
"""How long a process without memory waits for the others, which may fail alike, and how often it looks for them."""
_ARRIVED, _ENDED = "frostline/arrived", "frostline/ended"
"""What processes leave word of: how many blocks each has come to the end of, and why one has ended the run."""
_EACH_ITS_OWN = ("evaluate untouched",)
"""What is ordered of an arm, and not done with its weights."""


@dataclass
class Together:
    """What the processes tell one another at the end of what they did together."""

    own: Values = field(default_factory=dict)
    """What this process tells."""
    all: list[Values] = field(default_factory=list)
    """What all have told, by rank; empty until then."""


@runtime_checkable
class Store(Protocol):
    """Where a process leaves word for the others: of `torch.distributed.Store`, what is used of it."""

    def set(self, key: str, value: str, /) -> None:
        """Leave `value` at `key`."""
        ...

    def get(self, key: str, /) -> bytes:
        """What was left at `key`; waits for it."""
        ...

    def check(self, keys: list[str], /) -> bool:
        """Whether something was left at each of `keys`."""
        ...


@dataclass(frozen=True, eq=False)
class World:
    """The processes that compute arms together, as one of them sees it."""

    rank: int = 0
    size: int = 1
    orders: dist.ProcessGroup | None = None
    """On which the others wait for the next order, for as long as it takes."""
    answers: dist.ProcessGroup | None = None
    """On which all of them agree, within a time limit."""
    gradients: dist.ProcessGroup | None = None
    """On which gradients travel: from device to device where there are GPUs, within a time limit."""
    store: Store | None = None
    """Where a process leaves word for the others, whatever they wait for."""
    deferred: Callable[[], AbstractContextManager[None]] = nullcontext
    """A block that no signal cuts in two."""
    stop_asked: Callable[[], int | None] = lambda: None
    """The signal that has asked this process to stop, if one has."""
    stop: Callable[[int], None] = lambda signal_number: None
    """Another process was asked to stop by this signal: so is this one."""
    arms: WeakValueDictionary[int, object] = field(default_factory=WeakValueDictionary)
    """The arms that rank 0 has made and holds, by number."""
    held_together: dict[int, str] = field(default_factory=dict)
    """Names of the arms whose weights the processes hold together, by number: they exchange them in all they do."""
    over: threading.Event = field(default_factory=threading.Event)
    """Set once there are no more orders, as all processes know: rank 0 has said so, or this one has heard it."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _blocks: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    """Of what is done with such arms."""
    _ended: list[str] = field(default_factory=list)
    """Why this process has ended the run, if it has."""

    @property
    def alone(self) -> bool:
        """Whether this process computes arms alone."""
        return self.size == 1

    def next_number(self) -> int:
        """A number for an arm that rank 0 is about to make."""
        return next(self._numbers)

    @contextmanager
    def doing(
        self, order: Values, tensors: Mapping[str, Tensor] | None = None, *, patient: bool = False
    ) -> Iterator[Together]:
        """What is done in the block, all processes do: rank 0 orders it here, the others are in it by that order.

        What goes wrong in one goes wrong in all: rank 0 raises its own error, or a `TrainingError` that names that of
        another, and the others a `ToldError`. Raises `ProcessLostError` where a process has gone, or keeps the
        others waiting too long, unless they are `patient`. Alone, it is the block and nothing else.
        """
        together = Together()
        if self.alone:
            yield together
            together.all = [together.own]
            return
        with self.deferred():
            if self.rank == 0:
                self._tell({**order, ALIVE: sorted(self.arms)}, tensors or {})
            with self.agreeing(together, patient=patient), self._with_memory(order):
                yield together

    @contextmanager
    def agreeing(self, together: Together, *, patient: bool = False) -> Iterator[None]:
        """At the end of the block all tell one another what is in `together.own`, or what went wrong."""
        failed: Exception | None = None
        try:
            yield
        except TogetherError:
            raise
        except Exception as error:  # noqa: BLE001  # raised again below, once all know of it
            failed = error
        cause = None if failed is None else cause_of(failed)
        answer = {**together.own, "failed": cause, "stop": self.stop_asked()}
        together.all = self._gather(answer, self.orders if patient else self.answers)
        for rank, answer in enumerate(together.all):
            if rank != self.rank and isinstance(signal_number := answer["stop"], int):
                self.stop(signal_number)
        causes = {rank: answer["failed"] for rank, answer in enumerate(together.all) if answer["failed"] is not None}
        if self.rank == 0 and failed is not None:
            raise failed
        for rank, other in causes.items():
            if self.rank == 0:
                raise TrainingError(f"in process {rank} of {self.size}: {other}")
            raise ToldError(str(other)) from failed

    @contextmanager
    def _with_memory(self, order: Values) -> Iterator[None]:
        """Raise `MemoryRanOutError` where memory has run out in the block, and others wait inside of it for this one.

        Weights that are held together are exchanged in the block, so that without this process nobody gets to its end,
        unless all fail alike.
        """
        number = order.get("arm")
        name = self.held_together.get(number) if isinstance(number, int) else None
        if name is None or self.store is None or order["do"] in _EACH_ITS_OWN:
            yield
            return
        block, failed = next(self._blocks), None
        try:
            yield
        except Exception as error:
            failed = error
            raise
        finally:
            with reaching(self.store):
                self.store.set(f"{_ARRIVED}/{self.rank}", str(block))
            if failed is not None and is_out_of_memory(failed) and not self._all_arrive(block):
                ended = MemoryRanOutError(
                    f"arm {name}: process {self.rank} of {self.size} has run out of memory, and the others cannot go "
                    f"on without it ({want_of_memory(failed)})."
                )
                self._ended.append(ended.message)
                with reaching(self.store):
                    self.store.set(_ENDED, ended.message)
                raise ended from failed

    def _all_arrive(self, block: int) -> bool:
        """Whether all other processes come to the end of `block`, soon."""
        assert self.store is not None
        last = time.monotonic() + ARRIVAL_SECONDS
        keys = [f"{_ARRIVED}/{rank}" for rank in range(self.size)]
        while time.monotonic() < last:
            with reaching(self.store):
                if all(self.store.check([key]) and int(self.store.get(key)) >= block for key in keys):
                    return True
            time.sleep(LOOK_SECONDS)
        return False

    def order(self) -> tuple[Values, dict[str, Tensor]]:
        """The next order of rank 0 and its tensors, on the CPU, for which a process waits that follows."""
        with reaching(self.store):
            values = json.loads(self._receive_bytes())
            tensors = {}
            for name, shape, dtype in values.pop("tensors"):
                own = torch.empty(shape, dtype=getattr(torch, dtype))
                dist.broadcast(_bytes_of(own), src=0, group=self.orders)
                tensors[name] = own
        if values["do"] == _END:
            self.over.set()
        return values, tensors

    def end(self) -> None:
        """Rank 0 has no more orders: those that follow return."""
        if not self.alone and self.rank == 0 and not self._ended:  # those that wait elsewhere would not hear it
            self._tell({"do": _END, ALIVE: []}, {})
            self.over.set()

    def _tell(self, values: Values, tensors: Mapping[str, Tensor]) -> None:
        held = {name: own.detach().cpu().contiguous() for name, own in tensors.items()}
        described = [(name, list(own.shape), str(own.dtype).removeprefix("torch.")) for name, own in held.items()]
        content = json.dumps({**values, "tensors": described}).encode()
        with reaching(self.store):
            dist.broadcast(torch.tensor([len(content)]), src=0, group=self.orders)
            dist.broadcast(_tensor_of(content), src=0, group=self.orders)
            for own in held.values():
                dist.broadcast(_bytes_of(own), src=0, group=self.orders)

    def _receive_bytes(self) -> bytes:
        length = torch.zeros(1, dtype=torch.int64)
        dist.broadcast(length, src=0, group=self.orders)
        content = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(content, src=0, group=self.orders)
        return content.numpy().tobytes()

    def _gather(self, values: Values, group: dist.ProcessGroup | None) -> list[Values]:
        content = json.dumps(values).encode()
        with reaching(self.store):
            lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
            dist.all_gather(lengths, torch.tensor([len(content)]), group=group)
            longest = max(int(length) for length in lengths)
            padded = _tensor_of(content.ljust(longest, b" "))
            found = [torch.empty(longest, dtype=torch.uint8) for _ in range(self.size)]
            dist.all_gather(found, padded, group=group)
        return [json.loads(own.numpy().tobytes()) for own in found]


ALONE = World()
"""One process, which computes arms as it always does."""


@contextmanager
def reaching(store: Store | None = None) -> Iterator[None]:
    """What the libraries that connect processes raise, as an error of ours; in `store` is why a process has gone."""
    try:
        yield
    except RuntimeError as error:  # all that they know
        if (known := _why_ended(store)) is not None:
            raise MemoryRanOutError(known) from error
        raise ProcessLostError(
            "a process that computes this run together with this one has gone, or does not answer.",
            "Go on from the last checkpoint with 'frostline resume', on as many processes as there are.",
        ) from error


def _why_ended(store: Store | None) -> str | None:
    try:
        return store.get(_ENDED).decode() if store is not None and store.check([_ENDED]) else None
    except RuntimeError:  # it went with the process that kept it
        return None


def _tensor_of(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _bytes_of(tensor: Tensor) -> Tensor:
    """The memory of a contiguous tensor, as bytes."""
    return tensor.reshape(-1).view(torch.uint8)
