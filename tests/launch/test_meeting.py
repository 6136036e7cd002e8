"""Processes find one another as often as a script wants; whoever waits for others is told so, and can stop."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.builders.experiments import write_experiment
from tests.builders.ranks import Ranks, free_port, place_of
from tests.launch.test_several_processes import PARTS, result
from tests.survival.killing import snapshot


@pytest.mark.parametrize("how", ["itself", "not yet"])
def test_a_script_computes_together_as_often_as_it_likes(ranks: Ranks, tmp_path: Path, how: str) -> None:
    training = {**PARTS, "steps": 4}
    recipe = write_experiment(tmp_path, layers=2, training=training, seeds=[0], arms={"full": {"train": "all"}})
    alone = result(ranks, 1, recipe, "one")
    arguments = [how, str(recipe), str(tmp_path / "runs")]
    codes = ranks.run(2, arguments, tmp_path / "one" / "cache", tmp_path / "printed", module="tests.launch.script")
    first, second = ((tmp_path / f"printed.{rank}").read_text().splitlines() for rank in range(2))
    assert codes == [0, 0], [first, second]
    assert second == ["first followed", "followed", "second followed", "followed", "2 in all"]
    assert [first[0], first[2], first[4]] == ["first finished", "second finished", "2 in all"]
    assert "a step has 3 parts, which 2 processes cannot share evenly" in first[1]
    for name in ("first", "second"):
        assert snapshot(tmp_path / "runs" / name) == alone


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_waits_for_others_is_told_and_can_stop(ranks: Ranks, tmp_path: Path, number: int) -> None:
    recipe = write_experiment(tmp_path, layers=2, training=PARTS)
    waiting, output, port = ranks.servers[0], tmp_path / "output", free_port()
    command = ["run", str(recipe), "--out", str(tmp_path / "run")]
    waiting.begin(command, tmp_path / "cache", output, "patience:0", environment=place_of(0, 3, port))
    told = f"Waiting for 2 other processes at 127.0.0.1:{port}"
    waiting.wait_until(lambda: output.exists() and told in output.read_text())
    waiting.send(number)
    assert waiting.wait() == 128 + number
    assert len(output.read_text().splitlines()) == 1
    assert not (tmp_path / "run").exists()
