"""What all tests share: property tests without a clock, quick reports, processes that begin at once."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.builders.gpu import StandInGpu, stand_in_gpu, switched_back
from tests.builders.processes import Processes
from tests.builders.quick import make_quick

settings.register_profile("untimed", deadline=None)  # a busy machine must not make them fail
settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """Keep collections of garbage quick: to look at all modules and tests again takes half a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    """Real `frostline` and Python processes, forked from one that has imported what they need."""
    server = Processes()
    yield server
    server.close()


@pytest.fixture(scope="module", autouse=True)
def quick(processes: Processes) -> Iterator[pytest.MonkeyPatch]:
    """Reports have no figures, and memory is measured in forks, but for tests that are marked `as_shipped`."""
    with pytest.MonkeyPatch.context() as patch:
        if "tests.builders.experiments" in sys.modules:  # without it nothing of this is used, nor imported yet
            make_quick(patch, processes.run_command)
        yield patch


@pytest.fixture(autouse=True)
def _as_shipped(request: pytest.FixtureRequest, processes: Processes) -> Iterator[None]:
    if request.node.get_closest_marker("as_shipped") is None:
        yield
    else:
        patch: pytest.MonkeyPatch = request.getfixturevalue("quick")
        patch.undo()
        yield
        make_quick(patch, processes.run_command)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInGpu]:
    """A GPU that stands in for one in what torch is asked about CUDA."""
    with switched_back():
        yield stand_in_gpu(monkeypatch)
