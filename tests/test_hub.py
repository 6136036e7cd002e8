"""Is it found out at once whether the hub can be reached?"""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from frostline.hub import hub_if_reachable, hub_trouble
from tests.builders.hub_server import hub_with, no_hub

__all__ = ["no_hub"]


def test_whatever_answers_can_be_reached_and_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_with(tmp_path) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        assert [hub_trouble() for _ in range(3)] == ["", "", ""]
        with hub_if_reachable():
            assert not constants.HF_HUB_OFFLINE
    assert hub.asked == ["/"]


def test_where_nobody_answers_libraries_look_into_their_caches_alone(no_hub: str) -> None:
    assert hub_trouble() == no_hub
    with hub_if_reachable():
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE


def test_a_user_who_wants_no_network_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub_with(tmp_path) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        assert hub_trouble() == "HF_HUB_OFFLINE is set"
        with hub_if_reachable():
            assert constants.HF_HUB_OFFLINE
    assert hub.asked == []


def test_a_name_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://no-such-host.invalid")
    assert hub_trouble()
