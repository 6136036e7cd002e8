"""Each experiment is run straight once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.builders.processes import Processes
from tests.survival.killing import KINDS, Straight, run_straight


@pytest.fixture(scope="session")
def straight_of(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Straight]:
    """The experiment of a kind, run once without a kill; whoever uses it leaves it as it is."""
    known: dict[str, Straight] = {}

    def straight_of_kind(kind: str) -> Straight:
        if kind not in known:
            known[kind] = run_straight(processes, kind, tmp_path_factory.mktemp("straight"))
        return known[kind]

    return straight_of_kind


@pytest.fixture(scope="session")
def straight(straight_of: Callable[[str], Straight]) -> Straight:
    """The plainest of them."""
    return straight_of(next(iter(KINDS)))
