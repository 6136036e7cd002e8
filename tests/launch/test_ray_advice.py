"""An advice whose trials a real cluster of Ray computes is the advice of one process, whoever is killed on the way.

`FROSTLINE_KILLS` (7 unless set) says how much is killed in all.
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

from frostline.run_folder import CandidateMade, TrialFinished, read_journal
from tests.builders.experiments import journal_without_clock, write_experiment
from tests.builders.processes import Processes
from tests.launch.clusters import ENVIRONMENT, Driver, SimulatedCluster

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
KILLS = int(os.environ.get("FROSTLINE_KILLS", "7"))
soak = pytest.mark.skipif(
    KILLS < 14, reason="each driver loads torch three times: only where more than usual is killed"
)


@dataclass(frozen=True)
class Sought:
    """A recipe, and the advice on it that one process gives."""

    folder: Path
    recipe: Path
    expected: list[dict[str, object]]

    def command(self, advice: Path, *more: str) -> list[str]:
        return ["advise", str(self.recipe), "--out", str(advice), "--steps", "9", "--budget", "parameters=12%", *more]

    def begin(self, advice: Path, *more: str, address: str | None = None) -> Driver:
        cache = advice.parent / "cache"
        if not cache.exists():
            shutil.copytree(self.folder / "cache", cache)
        return Driver(self.command(advice, *more), cache, advice.parent / "output.txt", address)


@pytest.fixture(scope="module")
def sought(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Sought:
    folder = tmp_path_factory.mktemp("advice")
    recipe = write_experiment(folder, layers=2, windows={"length": 8, "held_out": 8}, seeds=[0], resources={"cpus": 1})
    here = Sought(folder, recipe, [])
    output = folder / "output.txt"
    code = processes.run(here.command(folder / "straight"), folder / "cache", output)
    assert code == 0, output.read_text()[-3000:]
    return Sought(folder, recipe, what_was_found(folder / "straight"))


def what_was_found(advice: Path) -> list[dict[str, object]]:
    """The journal without its clock, and without by how much plans are too dear: prices are measured."""
    lines = journal_without_clock(advice)["run.jsonl"]
    return [{**line, "exceeds": []} if line["kind"] == CandidateMade.__name__ else line for line in lines]


def trials_in(advice: Path) -> int:
    if not (advice / "journal").is_dir():
        return 0
    return sum(line["kind"] == TrialFinished.__name__ for line in read_journal(advice))


def test_two_machines_advise_as_one_process_does(
    sought: Sought, cluster: SimulatedCluster, processes: Processes, tmp_path: Path
) -> None:
    advice, output = tmp_path / "advice", tmp_path / "output.txt"
    environment = {**ENVIRONMENT, "RAY_ADDRESS": cluster.address}
    processes.begin(sought.command(advice, "--on", "ray"), sought.folder / "cache", output, environment=environment)
    assert processes.wait() == 0, output.read_text()[-3000:]
    assert what_was_found(advice) == sought.expected, output.read_text()[-3000:]
    assert "2 machines with 2 cores; a trial takes 1 core and" in " ".join(output.read_text().split())
    assert (advice / "advice.html").exists()
    assert cluster.ends("TrialBench")


@soak
def test_a_process_that_computes_is_killed_and_its_trial_computed_again(
    sought: Sought, cluster: SimulatedCluster, tmp_path: Path
) -> None:
    advice = tmp_path / "advice"
    driver = sought.begin(advice, "--on", "ray", address=cluster.address)
    for trials in (1, 20, 40):
        if driver.wait_until(lambda trials=trials: trials_in(advice) >= trials):  # type: ignore[misc]
            cluster.kill("TrialBench", trials)
    assert driver.wait() == 0, driver.output.read_text()[-3000:]
    assert what_was_found(advice) == sought.expected
    assert "computed again" in driver.output.read_text()


@soak
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_at_once_and_it_goes_on_with_or_without_the_cluster(
    number: int, code: int, sought: Sought, cluster: SimulatedCluster, tmp_path: Path
) -> None:
    advice = tmp_path / "advice"
    driver = sought.begin(advice, "--on", "ray", address=cluster.address)
    assert driver.wait_until(lambda: trials_in(advice) >= 3)
    driver.send(number)
    assert driver.wait() == code, driver.output.read_text()[-3000:]
    assert cluster.ends("TrialBench")
    again = sought.begin(advice, *(["--on", "ray"] if code == 130 else []), address=cluster.address)
    assert again.wait() == 0, again.output.read_text()[-3000:]
    assert what_was_found(advice) == sought.expected
    assert "Traceback" not in again.output.read_text()


@soak
def test_who_comes_as_a_client_gets_the_same(sought: Sought, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    simulated = SimulatedCluster(2, port)
    try:
        driver = sought.begin(tmp_path / "advice", "--on", f"ray://127.0.0.1:{port}")
        assert driver.wait_until(lambda: trials_in(tmp_path / "advice") >= 3)
        simulated.kill("TrialBench")
        assert driver.wait() == 0, driver.output.read_text()[-3000:]
    finally:
        simulated.close()
    assert what_was_found(tmp_path / "advice") == sought.expected


@pytest.mark.parametrize("trial", range(KILLS // 14))
def test_random_kills_change_nothing(trial: int, sought: Sought, cluster: SimulatedCluster, tmp_path: Path) -> None:
    generator = random.Random(f"trials {KILLS} {trial}")
    advice = tmp_path / "advice"
    for turn in range(3):
        driver = sought.begin(advice, "--on", "ray", address=cluster.address)
        until = trials_in(advice) + generator.randrange(1, 12)
        if driver.wait_until(lambda until=until: trials_in(advice) >= until):  # type: ignore[misc]
            if turn == 1:
                cluster.lose_one()
            else:
                cluster.kill("TrialBench", generator.randrange(2))
        driver.wait_until(lambda until=until: trials_in(advice) > until + 2)  # type: ignore[misc]
        driver.send(signal.SIGKILL)
        driver.wait()
    driver = sought.begin(advice, "--on", "ray", address=cluster.address)
    assert driver.wait() == 0, driver.output.read_text()[-3000:]
    assert what_was_found(advice) == sought.expected, driver.output.read_text()[-3000:]


@soak
def test_what_no_machine_has_is_one_sentence_and_leaves_nothing(
    sought: Sought, cluster: SimulatedCluster, tmp_path: Path
) -> None:
    for asked, told in (
        ("resources.cpus=64", "a unit asks for 64 cores, and the largest machine of the cluster has 1."),
        ("resources.memory_gb=4000", "a unit asks for 4000 GB"),
        ("training.batch=10000000", "Set resources.memory_gb to what Ray is to be asked for instead"),
    ):
        driver = sought.begin(tmp_path / "advice", "--on", "ray", "--set", asked, address=cluster.address)
        assert driver.wait() == 2, driver.output.read_text()[-3000:]
        written = driver.output.read_text()
        assert told in " ".join(written.split())
        assert "Traceback" not in written
        assert not (tmp_path / "advice").exists()
        driver.output.unlink()
