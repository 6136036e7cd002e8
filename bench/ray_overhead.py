"""What does it cost to give units to Ray, and what does a second machine gain? Machines are processes of this one here.

    python -m bench.ray_overhead                   # units of some seconds: Ray against processes, two cores against one
    python -m bench.ray_overhead --seconds 60      # units of a minute
    python -m bench.ray_overhead --nothing 1000    # so many units that train next to nothing: the driver's memory

Units are replicates of `full` and `freeze` on a model of random weights, one thread each. The rival of Ray is a loop
over processes, as many at once, each with one seed: what a shell script would do.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from bench.engine import print_machine
from tests.builders.experiments import write_experiment
from tests.launch.clusters import ENVIRONMENT, SimulatedCluster

FIRST_STEPS = 200
"""Steps by which the length of a unit is set."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the steps of a unit take")
    parser.add_argument("--units", type=int, default=4)
    parser.add_argument("--nothing", type=int, default=0, help="units of one step, instead of all else")
    asked = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if asked.nothing:
            _nothing(folder, asked.nothing)
        else:
            _compare(folder, asked.seconds, asked.units)


def _compare(folder: Path, seconds: float, units: int) -> None:
    recipe = _recipe(folder, FIRST_STEPS, 1)
    began = time.monotonic()
    _frostline(folder, recipe, "first")
    started = time.monotonic() - began
    _frostline(folder, _recipe(folder, 2 * FIRST_STEPS, 1), "second")
    a_step = max(1e-4, (time.monotonic() - began - 2 * started) / FIRST_STEPS)
    steps = max(FIRST_STEPS, round(seconds / a_step))
    recipe = _recipe(folder, steps, units)
    print(f"\n{units} units of {steps:,} steps, about {steps * a_step:.0f} s of steps each, one thread a unit")
    for cores in (1, 2):
        by_processes = _by_processes(folder, recipe, units, cores)
        cluster = SimulatedCluster(cores)
        try:
            began = time.monotonic()
            _frostline(folder, recipe, f"ray{cores}", "--on", "ray", address=cluster.address)
            by_ray = time.monotonic() - began
        finally:
            cluster.close()
        over = (by_ray - by_processes) / units
        print(
            f"{cores} machine{'s' if cores > 1 else ''} of one core: Ray {by_ray:.1f} s, "
            f"processes {by_processes:.1f} s; {over:+.1f} s a unit"
        )


def _nothing(folder: Path, units: int) -> None:
    """Units of one step: what the driver holds, and what a unit takes besides training."""
    recipe = _recipe(folder, 1, units)
    cluster = SimulatedCluster(2)
    try:
        began, peak = time.monotonic(), _Peak(folder / "nothing.txt")
        _frostline(folder, recipe, "nothing", "--on", "ray", address=cluster.address, peak=peak)
        seconds = time.monotonic() - began
    finally:
        cluster.close()
    print(f"\n{units:,} units of one step on 2 machines of one core: {peak.done - began:.0f} s, ", end="")
    print(f"{(peak.done - began) / units:.2f} s a unit; with summary and report {seconds:.0f} s")
    print(f"Memory of the driver: {peak.early / 1e6:.0f} MB after 30 s, {peak.most / 1e6:.0f} MB at most with units")


class _Peak:
    """Resident memory of a driver until all units are done, and when that was."""

    def __init__(self, said: Path) -> None:
        """`said` is what the driver prints."""
        self.early, self.most, self.done, self._said = 0, 0, 0.0, said

    def watch(self, process: subprocess.Popen[bytes]) -> None:
        began = time.monotonic()
        try:
            known = psutil.Process(process.pid)
            while process.poll() is None and "Writing summary" not in self._said.read_text():
                now = int(known.memory_info().rss)
                self.most = max(self.most, now)
                if time.monotonic() - began < 30:
                    self.early = now
                time.sleep(0.5)
        except psutil.Error:
            pass
        self.done = time.monotonic()


def _recipe(folder: Path, steps: int, units: int) -> Path:
    return write_experiment(
        folder,
        layers=4,
        seeds=list(range(units)),
        training={"steps": steps, "batch": 2, "learning_rate": 0.001, "precision": "fp32", "schedule": "lock-step"},
        arms={"full": {"train": "all"}, "freeze": {"train": ["attn.qkv@50%:"]}},
        measures={
            "evaluate_every": 0,
            "weight_change_every": 0,
            "memory": False,
            "sampling": {"prompts": 0, "prompt_tokens": 4, "new_tokens": 6},
        },
        retention="none",
        resources={"cpus": 1},
    )


def _by_processes(folder: Path, recipe: Path, units: int, at_once: int) -> float:
    """Seconds that a loop over processes takes, one for each seed."""
    began = time.monotonic()
    waiting, working = list(range(units)), list[subprocess.Popen[bytes]]()
    while waiting or working:
        working = [process for process in working if process.poll() is None]
        if waiting and len(working) < at_once:
            seed = waiting.pop(0)
            working.append(_begin(folder, recipe, f"p{at_once}-{seed}", "--set", f"seeds=[{seed}]"))
        time.sleep(0.05)
    return time.monotonic() - began


def _frostline(
    folder: Path, recipe: Path, name: str, *more: str, address: str | None = None, peak: _Peak | None = None
) -> None:
    process = _begin(folder, recipe, name, *more, address=address)
    if peak is not None:
        threading.Thread(target=peak.watch, args=(process,), daemon=True).start()
    if process.wait():
        raise SystemExit((folder / f"{name}.txt").read_text()[-3000:])


def _begin(folder: Path, recipe: Path, name: str, *more: str, address: str | None = None) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **ENVIRONMENT, "FROSTLINE_CACHE": str(folder / "cache")}
    environment.pop("RAY_ADDRESS", None)
    if address is not None:
        environment["RAY_ADDRESS"] = address
    command = ["run", str(recipe), "--fresh", "--out", str(folder / name), *more]
    with (folder / f"{name}.txt").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.launch.quick_driver", *command],
            stdout=output,
            stderr=output,
            env=environment,
        )


if __name__ == "__main__":
    main()
