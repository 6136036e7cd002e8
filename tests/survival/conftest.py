"""A server of `frostline` processes, one for each module of tests, whose reports have one figure."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builders.processes import Frostline


@pytest.fixture(scope="module")
def frostline() -> Iterator[Frostline]:
    with Frostline(figures=1) as server:
        yield server
