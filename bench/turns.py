"""Several contenders in turns (A B, B A, ...), each in a process of its own, so that one machine's moods hit all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from pydantic import TypeAdapter

from bench.contender import Ready, Setup, Took


@dataclass(frozen=True)
class Result:
    """What one contender did."""

    setup: Setup
    ready: Ready
    warm_up: list[Took]
    timed: list[Took]

    @property
    def seconds(self) -> float:
        """Median timed step."""
        return median(took.seconds for took in self.timed)

    @property
    def cpu_seconds(self) -> float:
        """Median of the processor's seconds in a timed step, over all threads."""
        return median(took.cpu_seconds for took in self.timed)

    @property
    def peak_bytes(self) -> int:
        return self.timed[-1].peak_bytes

    @property
    def share_of_peak(self) -> float:
        return self.ready.needed_flops / self.seconds / self.ready.peak_flops_per_second

    def phases(self) -> dict[str, float]:
        """Median seconds of each part of a step."""
        names = self.timed[0].phases
        return {name: median(took.phases[name] for took in self.timed) for name in names}


@dataclass(frozen=True)
class Ratio:
    """Time of one contender over that of another: ratio of the medians, and the range of the rounds' own ratios."""

    value: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def ratio(slower: Result, faster: Result) -> Ratio:
    each = [a.seconds / b.seconds for a, b in zip(slower.timed, faster.timed, strict=True)]
    return Ratio(slower.seconds / faster.seconds, min(each), max(each), len(each))


def cpu_ratio(slower: Result, faster: Result) -> Ratio:
    """The same of the processor's seconds, which waiting for others on the machine does not count."""
    each = [a.cpu_seconds / b.cpu_seconds for a, b in zip(slower.timed, faster.timed, strict=True)]
    return Ratio(slower.cpu_seconds / faster.cpu_seconds, min(each), max(each), len(each))


def take_turns(setups: Sequence[Setup], *, warm_up: int, rounds: int) -> list[Result]:
    """`warm_up` untimed rounds, then `rounds` timed ones."""
    with ExitStack() as stack:
        workers = []
        for setup in setups:
            worker = stack.enter_context(_started(setup))
            workers.append((worker, TypeAdapter(Ready).validate_json(_line_of(worker, setup))))
        steps: list[list[Took]] = [[] for _ in setups]
        for index in range(warm_up + rounds):
            order = range(len(workers)) if index % 2 == 0 else reversed(range(len(workers)))
            for chosen in order:
                worker, _ = workers[chosen]
                assert worker.stdin is not None
                worker.stdin.write("go\n")
                worker.stdin.flush()
                steps[chosen].append(TypeAdapter(Took).validate_json(_line_of(worker, setups[chosen])))
    return [
        Result(setup, ready, took[:warm_up], took[warm_up:])
        for setup, (_, ready), took in zip(setups, workers, steps, strict=True)
    ]


@contextmanager
def _started(setup: Setup) -> Iterator[subprocess.Popen[str]]:
    root = Path(__file__).resolve().parent.parent
    # As `frostline run` has it, and as those have it who call Trainer, or write the loop, themselves.
    huge_pages = "1" if setup.kind in ("engine", "uncached") else "0"
    worker = subprocess.Popen(
        [sys.executable, "-m", "bench.contender", json.dumps(asdict(setup))],
        cwd=root,
        env=os.environ | {"THP_MEM_ALLOC_ENABLE": huge_pages},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()


def _line_of(worker: subprocess.Popen[str], setup: Setup) -> str:
    assert worker.stdout is not None
    for line in worker.stdout:
        if line.startswith("{"):
            return line
    raise SystemExit(f"{setup.kind}, {setup.plan}: the process ended with code {worker.wait()}")
