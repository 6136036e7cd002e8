"""Servers of processes are dear: as many as the largest number of ranks, begun when they are first asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builders.processes import Processes
from tests.builders.ranks import Ranks

MOST = 4


@pytest.fixture(scope="session")
def ranks(processes: Processes) -> Iterator[Ranks]:
    """Real processes of one command, as torchrun starts them."""
    others = [Processes() for _ in range(MOST - 1)]
    yield Ranks([processes, *others])
    for server in others:
        server.close()
