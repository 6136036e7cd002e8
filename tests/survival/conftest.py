"""One server of `frostline` processes, whose reports have one figure, and each experiment run straight once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.builders.processes import Frostline
from tests.survival.killing import KINDS, Straight, run_straight


@pytest.fixture(scope="session")
def frostline() -> Iterator[Frostline]:
    with Frostline(figures=1) as server:
        yield server


@pytest.fixture(scope="session")
def straight_of(frostline: Frostline, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Straight]:
    """The experiment of a kind, run once without a kill; whoever uses it leaves it as it is."""
    known: dict[str, Straight] = {}

    def straight_of_kind(kind: str) -> Straight:
        if kind not in known:
            known[kind] = run_straight(frostline, kind, tmp_path_factory.mktemp("straight"))
        return known[kind]

    return straight_of_kind


@pytest.fixture(scope="session")
def straight(straight_of: Callable[[str], Straight]) -> Straight:
    """The plainest of them."""
    return straight_of(next(iter(KINDS)))
