"""A model whose files are changed while a run reads them: nothing that was computed since then is ever used."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest

from frostline.run_folder import read_journal
from tests.builders.processes import Processes
from tests.survival.killing import Straight, snapshot

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="files that are open cannot be changed there")
KIND = "a half-built prefix cache"
"""Two arms of 30 steps, rows stored as they go, a checkpoint at each step."""
AT = 6


@pytest.fixture
def experiment(straight_of: Callable[[str], Straight], tmp_path: Path) -> Straight:
    """A copy of the experiment, whose model may be changed."""
    straight = straight_of(KIND)
    folder = tmp_path / "experiment"
    copytree(straight.folder, folder)
    return Straight(KIND, folder, folder / "recipe.yaml", folder / "cache", straight.seconds, straight.expected)


def weights(experiment: Straight) -> Path:
    return experiment.folder / "model" / "model.safetensors"


def arms_of(snapshot: dict[str, object]) -> dict[str, object]:
    journal = snapshot["journal"]
    assert isinstance(journal, dict)
    return {name: lines for name, lines in journal.items() if name != "run.jsonl"}


def test_a_file_that_is_written_into_stops_the_run_and_spoils_nothing(
    experiment: Straight, tmp_path: Path, processes: Processes
) -> None:
    whole, run_folder, output = weights(experiment).read_bytes(), tmp_path / "run", tmp_path / "output.txt"
    command = experiment.arguments(run_folder)
    assert processes.run(command, experiment.cache, output, hook=f"overwrite:freeze:{AT}") == 2
    told = output.read_text().splitlines()[-1]
    assert "model.safetensors: it was written into while the run was reading it; nothing that was computed" in told
    assert len(told.replace(str(experiment.folder), "")) < 300
    steps = [
        line["step"] for line in read_journal(run_folder) if line["kind"] == "StepTaken" and line["arm"] == "freeze"
    ]
    assert steps == list(range(AT))

    output.write_text("")
    assert processes.run(command, experiment.cache, output) == 2
    assert "since it was begun, the model's weights changed. Bring back what there was" in output.read_text()

    # With the former weights the run goes on, and rows that it kept are those of a run left alone.
    weights(experiment).write_bytes(whole)
    assert processes.run(command, experiment.cache, output) == 0, output.read_text()[-3000:]
    assert snapshot(run_folder) == experiment.expected


def test_a_file_that_is_replaced_changes_nothing(experiment: Straight, tmp_path: Path, processes: Processes) -> None:
    run_folder, output = tmp_path / "run", tmp_path / "output.txt"
    command = [*experiment.arguments(run_folder), "--set", "measures.memory=true"]
    assert processes.run(command, experiment.cache, output, hook=f"replace:freeze:{AT}") == 0, output.read_text()
    assert arms_of(snapshot(run_folder)) == arms_of(experiment.expected)
    assert "Not measured: model.safetensors of the model is another one than the run has read." in output.read_text()


def test_a_file_that_is_cut_ends_the_run_which_is_refused_until_the_file_is_back(
    experiment: Straight, tmp_path: Path, processes: Processes
) -> None:
    whole, run_folder, output = weights(experiment).read_bytes(), tmp_path / "run", tmp_path / "output.txt"
    command = experiment.arguments(run_folder)
    # Whether it finds out before it reads what is gone is the system's to say.
    assert processes.run(command, experiment.cache, output, hook=f"truncate:freeze:{AT}") in (2, -signal.SIGBUS)
    output.write_text("")
    assert processes.run(command, experiment.cache, output) == 2
    assert f"it has {len(whole) // 2:,} bytes, and its header tells of {len(whole):,}" in output.read_text()
    weights(experiment).write_bytes(whole)
    assert processes.run(command, experiment.cache, output) == 0, output.read_text()[-3000:]
    assert snapshot(run_folder) == experiment.expected
