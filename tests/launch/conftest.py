"""Servers of processes, and a cluster, are dear: they are begun when they are first asked for, and shared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builders.processes import Processes
from tests.builders.ranks import Ranks
from tests.launch.clusters import SimulatedCluster

MOST = 4


@pytest.fixture(scope="session")
def ranks(processes: Processes) -> Iterator[Ranks]:
    """Real processes of one command, as torchrun starts them."""
    others = [Processes() for _ in range(MOST - 1)]
    yield Ranks([processes, *others])
    for server in others:
        server.close()


@pytest.fixture(scope="session")
def cluster() -> Iterator[SimulatedCluster]:
    """Two machines of one core."""
    simulated = SimulatedCluster(2)
    yield simulated
    simulated.close()
