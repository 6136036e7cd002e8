"""Was this process started alone, or by torchrun as one of several? Told by the environment, without PyTorch."""

from __future__ import annotations

import os
from dataclasses import dataclass

from frostline.errors import FrostlineError

ECHO_SECONDS = 5.0
"""Ctrl+C reaches such a process from the terminal, and soon after once more from torchrun."""
_HINT = "Start with torchrun, which sets it; to compute alone, unset WORLD_SIZE."
_VARIABLES = frozenset({"WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"})


@dataclass(frozen=True)
class Started:
    """How torchrun has started this process."""

    rank: int
    """Its number among all processes, from 0."""
    size: int
    """Number of processes; 1 where it was started alone."""
    local_rank: int
    """Its number among those on this machine."""
    local_size: int
    """Number of processes on this machine."""


def how_started() -> Started:
    """How this process was started. Raises `FrostlineError` where the environment makes no sense."""
    size = _number("WORLD_SIZE", 1)
    if size == 1:
        return Started(0, 1, 0, 1)
    if size == 0:
        raise FrostlineError("the environment has WORLD_SIZE=0, and this process is one.", _HINT)
    if not os.environ.get("RANK"):
        raise FrostlineError(f"the environment has WORLD_SIZE={size}, and no RANK: which process is this?", _HINT)
    local_size = _number("LOCAL_WORLD_SIZE", size)
    started = Started(_number("RANK", 0), size, _number("LOCAL_RANK", 0), local_size)
    for variable, found, most, bound in (
        ("RANK", started.rank, size - 1, f"WORLD_SIZE={size}"),
        ("LOCAL_WORLD_SIZE", local_size, size, f"WORLD_SIZE={size}"),
        ("LOCAL_RANK", started.local_rank, local_size - 1, f"LOCAL_WORLD_SIZE={local_size}"),
    ):
        if found > most:
            raise FrostlineError(f"the environment has {variable}={found} and {bound}, which cannot both be.", _HINT)
    return started


def is_launched() -> bool:
    """Whether this process is one of several that were started to compute together."""
    return os.environ.get("WORLD_SIZE", "1") not in ("", "1")


def memory_shares() -> int:
    """Among how many processes the memory of this machine is shared that is free now: each is to take no more.

    Rank 0 takes its share first; what it leaves is for the others.
    """
    started = how_started()
    return started.local_size if started.local_rank == 0 else started.local_size - 1


def alone() -> dict[str, str]:
    """The environment for a process that is started to work by itself."""
    return {name: value for name, value in os.environ.items() if name not in _VARIABLES}


def _number(variable: str, otherwise: int) -> int:
    written = os.environ.get(variable, "")
    if not written:
        return otherwise
    if not written.isdecimal():
        raise FrostlineError(f"the environment has {variable}={written}, which is no number.", _HINT)
    return int(written)
