"""A real cluster of Ray on this machine: two machines or more, which are processes here, and drivers that use it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.builders.experiments import journal_without_clock

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # 127.0.0.1 stays what it is
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
DEADLINE_SECONDS = 240.0


class SimulatedCluster:
    """Machines of one core each, all of them this one; a process beside keeps them."""

    def __init__(self, machines: int, port: int | None = None) -> None:
        """At `port` it answers those who come by `ray://`."""
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.launch.cluster_process",
                str(machines),
                *([] if port is None else [str(port)]),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **ENVIRONMENT},
            cwd=ROOT,
        )
        self.address = self._answer("at ")

    def lose_one(self) -> None:
        """One machine is gone, with all that runs on it; another one comes."""
        assert self._process.stdin is not None
        self._process.stdin.write("lose\n")
        self._process.stdin.flush()
        self._answer("done")

    def processes(self, of: str) -> list[int]:
        """Processes of the cluster that run the class or the task `of`."""
        found = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if " ".join(process.cmdline()).startswith(f"ray::{of}"):
                    found.append(process.pid)
        return sorted(found)

    def ends(self, of: str) -> bool:
        """Whether no process runs the class or the task `of` any more, or soon: to end takes a moment."""
        until = time.monotonic() + 60
        while self.processes(of) and time.monotonic() < until:
            time.sleep(0.1)
        return not self.processes(of)

    def kill(self, of: str, which: int = 0) -> None:
        """Kill one of those processes, if there is any."""
        running = self.processes(of)
        with suppress(ProcessLookupError):
            if running:
                os.kill(running[which % len(running)], signal.SIGKILL)

    def close(self) -> None:
        self._process.communicate(timeout=60)

    def _answer(self, begins: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(begins):
                return line.removeprefix(begins).strip()
        raise AssertionError("the cluster has ended")


class Driver:
    """One `frostline` command that gives units to a cluster, as a process of its own."""

    def __init__(self, arguments: Sequence[str], cache: Path, output: Path, address: str | None = None) -> None:
        environment = {**os.environ, **ENVIRONMENT, "FROSTLINE_CACHE": str(cache)}
        environment.pop("RAY_ADDRESS", None)
        if address is not None:
            environment["RAY_ADDRESS"] = address
        self.output = output
        with output.open("a") as printed:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.launch.quick_driver", *arguments],
                stdout=printed,
                stderr=printed,
                env=environment,
                cwd=ROOT,
                start_new_session=True,
            )

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def wait(self) -> int:
        try:
            return self._process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(self.output.read_text()[-3000:]) from None

    def wait_until(self, happened: Callable[[], bool]) -> bool:
        """Whether it has happened before the process ended."""
        until = time.monotonic() + DEADLINE_SECONDS
        while not happened():
            if not self.runs:
                return happened()
            assert time.monotonic() < until, self.output.read_text()[-3000:]
            time.sleep(0.02)
        return True

    def wait_for_steps(self, run_folder: Path, steps: int) -> bool:
        """Whether units at work had taken so many steps before the process ended."""
        return self.wait_until(lambda: steps_in(run_folder) >= steps)


def workers_of(run_folder: Path) -> list[int]:
    """Processes that are at work on a unit: they hold the locks of attempts."""
    found = []
    for path in (run_folder / "units").glob("*/attempt-*/lock"):
        with suppress(OSError, ValueError):
            found.append(int(json.loads(path.read_text())["process"]))
    return found


def kill_worker(run_folder: Path, which: int = 0) -> bool:
    """Kill a process that is at work; whether there was one."""
    workers = workers_of(run_folder)
    if not workers:
        return False
    with suppress(ProcessLookupError):
        os.kill(workers[which % len(workers)], signal.SIGKILL)
    return True


def steps_in(run_folder: Path) -> int:
    """Steps that are written in the journals of units at work."""
    total = 0
    for path in (run_folder / "units").glob("*/attempt-*/journal/*.jsonl"):
        with suppress(OSError):
            total += path.read_bytes().count(b'"StepTaken"')
    return total


def what_counts(run_folder: Path) -> dict[str, object]:
    """What must not depend on where and how often units ran: the journal without its clock, models, names of files."""
    apart = {"units.jsonl"}
    files = sorted(
        name
        for path in run_folder.rglob("*")
        if path.is_file() and (name := str(path.relative_to(run_folder))) not in apart
    )
    models = {name: (run_folder / name).read_bytes() for name in files if name.startswith("checkpoints/")}
    return {"files": files, "models": models, "journal": journal_without_clock(run_folder)}
