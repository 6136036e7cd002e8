"""An experiment on a real cluster of Ray gives what one process gives, whoever is killed on the way.

`FROSTLINE_KILLS` sets how many processes are killed in all (7 unless set, beside which as many more at random moments).
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest

from frostline.run_folder import SameBits, UnitDone, read_unit_records
from tests.builders.experiments import write_experiment
from tests.builders.processes import Processes
from tests.launch.clusters import Driver, SimulatedCluster, kill_worker, steps_in, what_counts

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
KILLS = int(os.environ.get("FROSTLINE_KILLS", "7"))
soak = pytest.mark.skipif(
    KILLS < 14, reason="each driver loads torch three times: only where more than usual is killed"
)
STEPS = 40


@dataclass(frozen=True)
class Experiment:
    """Two replicates of three arms, and what one process makes of them."""

    folder: Path
    recipe: Path
    expected: dict[str, object]

    def command(self, run_folder: Path, *more: str) -> list[str]:
        return ["run", str(self.recipe), "--out", str(run_folder), "--resume", "auto", "--fresh", *more]

    def begin(self, run_folder: Path, *more: str, address: str | None = None) -> Driver:
        cache, output = run_folder.parent / "cache", run_folder.parent / "output.txt"
        if not cache.exists():
            shutil.copytree(self.folder / "cache", cache)
        return Driver(self.command(run_folder, *more), cache, output, address)


@pytest.fixture(scope="module")
def experiment(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    folder = tmp_path_factory.mktemp("experiment")
    recipe = write_experiment(
        folder,
        layers=2,
        training={"steps": STEPS, "batch": 2, "learning_rate": 0.01, "precision": "fp32", "untimed_steps": 1},
        checkpoints={"every_steps": 5, "largest_share": 1.0},
        resources={"cpus": 1},
        save={"full": "model", "freeze": "all"},
    )
    output = folder / "output.txt"
    code = processes.run(["run", str(recipe), "--out", str(folder / "straight"), "--fresh"], folder / "cache", output)
    assert code == 0, output.read_text()
    return Experiment(folder, recipe, what_counts(folder / "straight"))


def test_two_machines_give_what_one_process_gives_and_a_second_driver_is_refused(
    experiment: Experiment, cluster: SimulatedCluster, tmp_path: Path
) -> None:
    run_folder = tmp_path / "run"
    driver = experiment.begin(run_folder, "--on", "ray", address=cluster.address)
    assert driver.wait_until(lambda: (run_folder / "lock").exists())
    output = tmp_path / "second.txt"
    second = Driver(experiment.command(run_folder, "--on", "ray"), tmp_path / "cache", output, cluster.address)
    assert second.wait() == 2, output.read_text()[-3000:]
    assert "another process writes there" in output.read_text()
    assert "Traceback" not in output.read_text()
    assert driver.wait() == 0, driver.output.read_text()[-3000:]
    assert what_counts(run_folder) == experiment.expected
    records = read_unit_records(run_folder)
    assert [record.attempts for record in records if isinstance(record, UnitDone)] == [1, 1]
    (bits,) = [record for record in records if isinstance(record, SameBits)]
    assert bits.same
    assert len(set(bits.nodes)) == 2
    assert "2 machines of 1 kind" in driver.output.read_text()


@soak
def test_whatever_is_lost_on_the_way_the_run_is_the_same(
    experiment: Experiment, cluster: SimulatedCluster, tmp_path: Path
) -> None:
    run_folder = tmp_path / "run"
    driver = experiment.begin(run_folder, "--on", "ray", address=cluster.address)
    assert driver.wait_for_steps(run_folder, 20), "a process is lost"
    assert kill_worker(run_folder)
    assert driver.wait_for_steps(run_folder, 90), "the driver is lost"
    driver.send(signal.SIGKILL)
    driver.wait()
    driver = experiment.begin(run_folder, "--on", "ray", address=cluster.address)
    assert driver.wait_for_steps(run_folder, 150), "a machine is lost, and then someone wants it to stop"
    cluster.lose_one()
    driver.send(signal.SIGINT)
    code = driver.wait()
    written = driver.output.read_text()
    assert code in (0, 130), written[-3000:]
    assert "Traceback" not in written
    if code:
        assert f"frostline resume {run_folder} --on ray" in written
        driver = Driver(["resume", str(run_folder), "--on", "ray"], tmp_path / "cache", driver.output, cluster.address)
        assert driver.wait() == 0, driver.output.read_text()[-3000:]
    assert what_counts(run_folder) == experiment.expected, driver.output.read_text()[-3000:]


@soak
def test_who_comes_as_a_client_gets_the_same_and_is_told_how_to_go_on(experiment: Experiment, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, run_folder = f"ray://127.0.0.1:{port}", tmp_path / "run"
    simulated = SimulatedCluster(2, port)
    try:
        driver = experiment.begin(run_folder, "--on", address)
        assert driver.wait_for_steps(run_folder, 20)
        driver.send(signal.SIGINT)
        assert driver.wait() == 130, driver.output.read_text()[-3000:]
        assert f"frostline resume {run_folder} --on {address}" in driver.output.read_text()
        driver = Driver(["resume", str(run_folder), "--on", address], tmp_path / "cache", driver.output)
        assert driver.wait() == 0, driver.output.read_text()[-3000:]
    finally:
        simulated.close()
    assert what_counts(run_folder) == experiment.expected


@pytest.mark.parametrize("trial", range(KILLS // 14))
def test_random_kills_change_nothing(
    trial: int, experiment: Experiment, cluster: SimulatedCluster, tmp_path: Path
) -> None:
    generator = random.Random(f"kills {KILLS} {trial}")
    run_folder = tmp_path / "run"
    for turn in range(3):
        driver = experiment.begin(run_folder, "--on", "ray", address=cluster.address)
        for _ in range(3):
            if not driver.wait_for_steps(run_folder, steps_in(run_folder) + generator.randrange(1, 60)):
                break
            kill_worker(run_folder, generator.randrange(4))
        if turn < 2:
            cluster.lose_one()
        driver.send(generator.choice([signal.SIGKILL, signal.SIGTERM]))
        driver.wait()
    here = trial % 3 == 2  # and the rest without a cluster
    driver = experiment.begin(run_folder, *([] if here else ["--on", "ray"]), address=cluster.address)
    assert driver.wait() == 0, driver.output.read_text()[-3000:]
    assert what_counts(run_folder) == experiment.expected, driver.output.read_text()[-3000:]


@soak
def test_a_disk_that_takes_nothing_is_one_sentence_and_loses_nothing(
    experiment: Experiment, cluster: SimulatedCluster, tmp_path: Path
) -> None:
    run_folder = tmp_path / "run"
    driver = experiment.begin(run_folder, "--on", "ray", address=cluster.address)
    assert driver.wait_for_steps(run_folder, 10)
    blocked = run_folder / "journal" / "variant0-seed0-full.jsonl"
    blocked.mkdir()  # what a disk that takes nothing more is to the driver
    assert driver.wait() == 2, driver.output.read_text()[-3000:]
    assert "cannot be written" in driver.output.read_text()
    assert "Traceback" not in driver.output.read_text()
    blocked.rmdir()
    driver = experiment.begin(run_folder, address=None)  # and the rest here
    assert driver.wait() == 0, driver.output.read_text()[-3000:]
    assert what_counts(run_folder) == experiment.expected


@soak
def test_a_cluster_of_this_machine_is_started_and_stopped(experiment: Experiment, tmp_path: Path) -> None:
    output, cache = tmp_path / "output.txt", tmp_path / "cache"
    driver = Driver(experiment.command(tmp_path / "run", "--on", "ray", "--set", "training.steps=2"), cache, output)
    assert driver.wait() == 0, output.read_text()[-3000:]
    records = read_unit_records(tmp_path / "run")
    assert {record.unit for record in records if isinstance(record, UnitDone)} == {
        "variant0-seed0-group0",
        "variant0-seed1-group0",
    }


@soak
def test_a_mistake_that_a_machine_meets_is_one_sentence_and_leaves_nothing(
    experiment: Experiment, cluster: SimulatedCluster, tmp_path: Path
) -> None:
    much = experiment.begin(tmp_path / "run", "--on", "ray", "--set", "resources.cpus=64", address=cluster.address)
    assert much.wait() == 2, much.output.read_text()[-3000:]
    assert "a unit asks for 64 cores, and the largest machine of the cluster has 1." in much.output.read_text()
    wrong = ["--set", "arms={none: {train: ['mlp@9:']}}", "--set", "save=[]"]
    driver = experiment.begin(tmp_path / "run", "--on", "ray", *wrong, address=cluster.address)
    assert driver.wait() == 2, driver.output.read_text()[-3000:]
    written = driver.output.read_text()
    assert "--set arms, key 'arms.none.train': '@9:': layer 9 is out of range" in written
    assert "Traceback" not in written
    assert not (tmp_path / "run").exists()
