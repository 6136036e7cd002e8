"""How do processes that were started together find one another? By a store that all reach, and groups of their own.

A script may compute together several times, before or after it does so by itself: each time has its own groups and its
own part of the store, and what was made for it goes with it. Libraries wait for other processes where no signal reaches
Python; so they do that in a thread, and a signal ends the wait of the main one.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.distributed_c10d import _get_default_store
from torch.distributed.rendezvous import rendezvous

from frostline.errors import ProcessLostError
from frostline.started import Started

ANSWER_LIMIT = timedelta(minutes=10)
"""How long a process may keep the others waiting in what they do together: one that hangs ends the run."""
ORDER_LIMIT = timedelta(days=30)
"""How long the others wait for what rank 0 does alone, such as writing text. One that has gone they notice at once."""
PATIENCE_SECONDS = 5.0
"""How long a process waits for others in silence: they are not all started in the same moment."""
LOOK_SECONDS = 0.2
"""How soon a signal is noticed by a process that waits."""

_MEETINGS = itertools.count()
"""Of this process. All count alike, since all do the same."""
Made = TypeVar("Made")


@dataclass(frozen=True)
class Met:
    """What connects the processes, once they have found one another."""

    rank: int
    size: int
    store: Store
    """Empty at first: what was left at an earlier meeting has other keys."""
    orders: dist.ProcessGroup
    answers: dist.ProcessGroup
    gradients: dist.ProcessGroup
    is_default_ours: bool
    """Whether `torch.distributed` was set up here, and not by the script."""


def meet(started: Started, say: Callable[[str], None]) -> Met:
    """Wait for the processes that were started together with this one; `say` is told of whom, where that takes long.

    Raises `ProcessLostError` where they do not find one another.
    """
    try:
        return _interruptibly(lambda: _connected(started), lambda: _tell(started, say))
    except (RuntimeError, ValueError) as error:
        raise ProcessLostError(
            "the processes that were started to compute together do not find one another.",
            "Start them with torchrun; on several machines name one with --rdzv-endpoint HOST:PORT.",
        ) from error


def part(met: Met) -> None:
    """Let go of what `meet` has made. All processes must know that they do nothing together any more."""
    if met.is_default_ours:
        dist.destroy_process_group()
        return
    for group in (met.gradients, met.answers, met.orders):
        dist.destroy_process_group(group)


def _connected(started: Started) -> Met:
    """The store and the groups; waits for all processes."""
    own_keys = f"frostline/{next(_MEETINGS)}"
    on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    is_default_ours = not dist.is_initialized()
    if is_default_ours:
        store = PrefixStore(own_keys, _store_at(os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")))
        dist.init_process_group("gloo", store=store, rank=started.rank, world_size=started.size, timeout=ANSWER_LIMIT)
    else:
        store = PrefixStore(own_keys, _get_default_store())
    return Met(
        rank=dist.get_rank(),
        size=dist.get_world_size(),
        store=store,
        orders=_group("gloo", ORDER_LIMIT),
        answers=_group("gloo", ANSWER_LIMIT),
        gradients=_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo", ANSWER_LIMIT),
        is_default_ours=is_default_ours,
    )


@functools.cache
def _store_at(address: str | None, port: str | None) -> Store:
    """The store that the environment names. It stays for as long as this process does.

    Where rank 0 has it, and not torchrun, others may otherwise come to the next meeting before the last store has gone.
    """
    store: Store = next(rendezvous("env://", timeout=ANSWER_LIMIT))[0]
    return store


def _group(backend: str, limit: timedelta) -> dist.ProcessGroup:
    group = dist.new_group(backend=backend, timeout=limit)
    assert isinstance(group, dist.ProcessGroup)
    return group


def _tell(started: Started, say: Callable[[str], None]) -> None:
    """Whom this process waits for, and where; one of each machine says so."""
    if started.local_rank:
        return
    others = started.size - 1
    who = "process 0" if started.rank else f"{others} other processes" if others > 1 else "another process"
    say(f"Waiting for {who} at {os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}")


def _interruptibly(make: Callable[[], Made], takes_long: Callable[[], None]) -> Made:
    """What `make` gives, in a thread that a signal to the main one leaves behind; `takes_long` is told so."""
    made: Future[Made] = Future()

    def work() -> None:
        try:
            made.set_result(make())
        except Exception as error:  # noqa: BLE001  # raised by whoever waits for it
            made.set_exception(error)

    thread = threading.Thread(target=work, name="frostline-meeting", daemon=True)
    thread.start()
    patient_until = time.monotonic() + PATIENCE_SECONDS
    while thread.is_alive():
        thread.join(LOOK_SECONDS)  # libraries that handle SIGINT themselves would not let it end a longer wait
        if thread.is_alive() and time.monotonic() > patient_until:
            patient_until = math.inf
            takes_long()
    return made.result()
