"""Several real processes of one command, as torchrun would start them, each forked from a server of its own."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.builders.processes import Processes


def free_port() -> int:
    """A port of this machine that nobody has at the moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def place_of(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun puts into the environment of process `rank` of `size` on this machine."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    return {name: str(value) for name, value in place.items()} | {
        "MASTER_ADDR": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
    }


class Ranks:
    """So many processes at once; rank 0 is the first."""

    def __init__(self, servers: Sequence[Processes]) -> None:
        self.servers = servers

    def begin(
        self,
        size: int,
        arguments: Sequence[str],
        cache: Path,
        output: Path,
        hooks: Mapping[int, str],
        module: str = "frostline",
    ) -> None:
        """Begin `module` with `arguments` in `size` processes; what rank r prints is appended to `OUTPUT.r`."""
        port = free_port()
        for rank in range(size):
            printed, hook = output.with_name(f"{output.name}.{rank}"), hooks.get(rank, "")
            environment = place_of(rank, size, port)
            self.servers[rank].begin(arguments, cache, printed, hook, environment=environment, module=module)

    def wait(self, size: int) -> list[int]:
        """Exit status of each process, by rank."""
        return [self.servers[rank].wait() for rank in range(size)]

    def run(
        self,
        size: int,
        arguments: Sequence[str],
        cache: Path,
        output: Path,
        hooks: Mapping[int, str] | None = None,
        module: str = "frostline",
    ) -> list[int]:
        """Begin them, and wait for their exit status."""
        self.begin(size, arguments, cache, output, hooks or {}, module)
        return self.wait(size)
