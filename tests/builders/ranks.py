"""Several real processes of one command, as torchrun would start them, each forked from a server of its own."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.builders.processes import Processes


class Ranks:
    """So many processes at once; rank 0 is the first."""

    def __init__(self, servers: Sequence[Processes]) -> None:
        self.servers = servers

    def begin(self, size: int, arguments: Sequence[str], cache: Path, output: Path, hooks: Mapping[int, str]) -> None:
        """Begin `frostline` with `arguments` in `size` processes; what rank r prints is appended to `OUTPUT.r`."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for rank in range(size):
            place = {
                "RANK": rank,
                "LOCAL_RANK": rank,
                "WORLD_SIZE": size,
                "LOCAL_WORLD_SIZE": size,
                "MASTER_PORT": port,
            }
            environment = {name: str(value) for name, value in place.items()}
            environment |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
            printed = output.with_name(f"{output.name}.{rank}")
            self.servers[rank].begin(arguments, cache, printed, hooks.get(rank, ""), environment=environment)

    def wait(self, size: int) -> list[int]:
        """Exit status of each process, by rank."""
        return [self.servers[rank].wait() for rank in range(size)]

    def run(
        self, size: int, arguments: Sequence[str], cache: Path, output: Path, hooks: Mapping[int, str] | None = None
    ) -> list[int]:
        """Begin them, and wait for their exit status."""
        self.begin(size, arguments, cache, output, hooks or {})
        return self.wait(size)
