"""A checkpoint of an arm that several processes hold is whole or none, and theirs alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.builders.processes import Processes
from tests.engine.sharded_cases import tried

Played = Callable[[int, str], dict[str, Any]]
SCENES = {2: ("resumed", "saved", "damaged"), 3: ("read_by_another_number",)}


@pytest.fixture(scope="module")
def played(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """What came of a scene in so many processes; a number of processes plays all of its scenes at once."""
    folder = tmp_path_factory.mktemp("sharded")

    def found(size: int, name: str) -> dict[str, Any]:
        if not (folder / f"{name}.json").exists():
            done = processes.python("-m", "tests.engine.sharded_scenes", str(folder), str(size), *SCENES[size])
            assert done.returncode == 0, done.stderr
        content: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
        return content

    return found


@pytest.mark.parametrize("name", tried("suffix", "tied", "gradual", "split", "lora", "suffix-bf16", "narrowing"))
def test_a_resumed_arm_goes_on_with_the_same_bits(name: str, played: Played) -> None:
    found = played(2, "resumed")[name]
    assert found["resumed"] == found["straight"]
    assert found["sha256"][0] == found["sha256"][1]
    assert found["moved"] == []


def test_another_number_of_processes_is_refused_unless_changes_are_accepted(played: Played) -> None:
    after = played(2, "saved")["after"]
    found = played(3, "read_by_another_number")
    assert "written by 2 processes" in found["refused"]
    assert "--accept-changes" in found["refused"]
    assert found["after"] == pytest.approx(after, abs=1e-6, rel=0)
    assert found["moved"] == []


def test_a_checkpoint_whose_shards_are_not_all_there_is_none(played: Played) -> None:
    found = played(2, "damaged")
    other, bytes_changed, missing = found["reasons"]
    assert "not the shard that the checkpoint lists" in other
    assert "SHA-256 differs" in bytes_changed
    assert "not a checkpoint" in missing
    assert found["left"] == []
