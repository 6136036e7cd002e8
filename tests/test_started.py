"""What torchrun puts into the environment, and what memory a process may take of what is free."""

from __future__ import annotations

import pytest

from frostline.errors import FrostlineError
from frostline.started import Started, alone, how_started, is_launched, memory_shares


def start(patch: pytest.MonkeyPatch, rank: int, size: int, local_rank: int, local_size: int) -> None:
    values = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": local_rank, "LOCAL_WORLD_SIZE": local_size}
    for name, value in values.items():
        patch.setenv(name, str(value))


def test_a_process_is_alone_unless_torchrun_has_started_several(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert not is_launched()
    assert how_started() == Started(0, 1, 0, 1)
    start(monkeypatch, 0, 1, 0, 1)
    assert not is_launched()
    start(monkeypatch, 5, 8, 1, 4)
    assert is_launched()
    assert how_started() == Started(5, 8, 1, 4)


def test_what_it_starts_to_work_by_itself_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, 1, 2, 1, 2)
    monkeypatch.setenv("PATH_OF_MINE", "kept")
    environment = alone()
    assert environment["PATH_OF_MINE"] == "kept"
    assert not environment.keys() & {"RANK", "WORLD_SIZE", "LOCAL_RANK"}


def test_the_first_takes_its_share_and_leaves_the_rest_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for rank, shares in ((0, 4), (1, 3), (3, 3)):
        start(monkeypatch, rank, 4, rank, 4)
        assert memory_shares() == shares


def test_what_is_no_number_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, 0, 2, 0, 2)
    monkeypatch.setenv("LOCAL_RANK", "first")
    with pytest.raises(FrostlineError, match="LOCAL_RANK=first, which is no number"):
        how_started()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((5, 2, 0, 2), "RANK=5 and WORLD_SIZE=2, which cannot both be"),
        ((0, 2, 1, 1), "LOCAL_RANK=1 and LOCAL_WORLD_SIZE=1, which cannot both be"),
        ((0, 2, 0, 3), "LOCAL_WORLD_SIZE=3 and WORLD_SIZE=2, which cannot both be"),
        ((0, 0, 0, 0), "WORLD_SIZE=0, and this process is one"),
    ],
)
def test_what_cannot_be_is_told(monkeypatch: pytest.MonkeyPatch, values: tuple[int, int, int, int], told: str) -> None:
    start(monkeypatch, *values)
    with pytest.raises(FrostlineError, match=told):
        how_started()
    with pytest.raises(FrostlineError, match=told):
        memory_shares()


def test_which_process_it_is_must_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, 0, 2, 0, 2)
    monkeypatch.delenv("RANK")
    with pytest.raises(FrostlineError, match="WORLD_SIZE=2, and no RANK"):
        how_started()
    monkeypatch.setenv("WORLD_SIZE", "")
    assert not is_launched()
