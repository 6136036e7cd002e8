"""Does a run take longer while somebody watches it? Its step times with the live page at work and without, in turns.

    python -m bench.watch_page [--blocks N] [--block-steps N] [--reader chromium|events] [--control] [--set KEY=VALUE]

One arm trains with `--watch` and somebody on the page: a reader of its events, as where the browser stands on another
machine, or Chromium, which draws on the same cores. In half of the blocks of steps the server of the page is stopped
(SIGSTOP): watched, alone, alone, watched, and again. So blocks a few seconds apart are compared, and a drift of the
machine's speed hits both alike. The first steps of a block, in which it is stopped or goes on, are left out. With
`--control` it is stopped all the time: how far blocks differ by themselves. Printed is the ratio of the mean step times
of neighbouring blocks, its median and a bootstrap interval over the pairs, and the processor time of the server. For a
machine that does nothing else.
"""

from __future__ import annotations

import argparse
import http.client
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil

from frostline.machine import describe_machine
from frostline.run_folder import JournalFollower, JournalLine

Reader = Callable[[str, threading.Event], None]
LEFT_OUT = 3
"""First steps of each block that are not compared."""
SETTINGS = [
    "training.learning_rate=2e-4", "seeds=[0]", "measures.memory=false", "measures.sampling.prompts=0",
    "measures.evaluate_every=0", "windows.length=64", "training.batch=1", "baseline=top",
    "arms={top: {train: ['all@-2:']}}",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=40, help="a multiple of four")
    parser.add_argument("--block-steps", type=int, default=25)
    parser.add_argument("--recipe", default="src/frostline/recipe/library/demo.yaml")
    parser.add_argument("--reader", choices=("chromium", "events"), default="events")
    parser.add_argument("--control", action="store_true", help="compare blocks in all of which the server is stopped")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    for name, value in describe_machine().items():
        print(f"{name}: {value}")
    look = _look_in_chromium if arguments.reader == "chromium" else _read_events
    steps = arguments.blocks * arguments.block_steps
    with tempfile.TemporaryDirectory() as folder:
        blocks, share = _run(arguments, steps, Path(folder) / "run", look)
    seen = [block for number, block in enumerate(blocks) if is_watched(number)]
    alone = [block for number, block in enumerate(blocks) if not is_watched(number)]
    ratios = np.array(seen) / np.array(alone)
    resampled = np.random.default_rng(0).choice(ratios, (10_000, len(ratios)))
    low, high = np.quantile(np.median(resampled, axis=1), [0.025, 0.975])
    how = "nobody: the server is stopped all the time" if arguments.control else arguments.reader
    print(f"watched by: {how}; {len(ratios)} pairs of blocks of {arguments.block_steps} steps")
    print(f"step alone: {1000 * statistics.median(alone):.1f} ms")
    print(f"step watched over alone: median {np.median(ratios):.4f} [{low:.4f}, {high:.4f}]")
    print(f"the server, where it is at work: {100 * share:.1f} % of a core")


def _run(arguments: argparse.Namespace, steps: int, out: Path, look: Reader) -> tuple[list[float], float]:
    """Mean step time of each block, some of them watched; and the server's share of a core in the watched."""
    command = [sys.executable, "-m", "frostline", "run", arguments.recipe, "--out", str(out), "--fresh", "--json"]
    for setting in [*SETTINGS, f"training.steps={steps}", *arguments.set]:
        command += ["--set", setting]
    with subprocess.Popen(
        [*command, "--watch"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stderr is not None
        with _page_open(process.stderr.readline().split()[-1], look):
            # What the run says is read all the time: it would wait for room otherwise.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            server = next(
                own
                for own in psutil.Process(process.pid).children()
                if "frostline.live_page" in " ".join(own.cmdline())
            )
            seconds, at_work, used = _in_turns(process, server, out, arguments)
        process.wait()
    if len(seconds) < steps:
        raise SystemExit("the run failed")
    blocks = [seconds[start : start + arguments.block_steps] for start in range(0, steps, arguments.block_steps)]
    return [statistics.fmean(block[LEFT_OUT:]) for block in blocks], used / max(at_work, 1e-9)


def is_watched(block: int) -> bool:
    """Whether the server is at work in this block, counted from 0."""
    return block % 4 in (0, 3)


def _in_turns(
    process: subprocess.Popen[str], server: psutil.Process, out: Path, arguments: argparse.Namespace
) -> tuple[list[float], float, float]:
    """The seconds of every step; how long the server was at work, and for how long it used a processor."""
    follower, seconds = JournalFollower(out, kinds={"StepTaken"}), list[float]()
    runs, at_work, used = True, 0.0, 0.0
    since, before = time.monotonic(), _processor_seconds(server)
    while process.poll() is None:
        for line in follower.read_new():
            if isinstance(line, JournalLine):
                seconds.append(float(str(line.values["seconds"])))
        wanted = is_watched(len(seconds) // arguments.block_steps) and not arguments.control
        if wanted != runs:
            runs = wanted
            if runs:
                server.send_signal(signal.SIGCONT)
                since, before = time.monotonic(), _processor_seconds(server)
            else:
                at_work += time.monotonic() - since
                used += _processor_seconds(server) - before
                server.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
    with suppress(psutil.NoSuchProcess):
        server.send_signal(signal.SIGCONT)
    return seconds, at_work, used


def _processor_seconds(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


@contextmanager
def _page_open(address: str, look: Reader) -> Iterator[None]:
    """The page is open as long as the block lasts."""
    ending = threading.Event()
    thread = threading.Thread(target=look, args=(address, ending), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(10)


def _look_in_chromium(address: str, ending: threading.Event) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)
        while not ending.wait(0.5):
            page.title()  # events are handled while one asks
        browser.close()


def _read_events(address: str, ending: threading.Event) -> None:
    host, _, path = address.removeprefix("http://").partition("/")
    entering = http.client.HTTPConnection(host)
    entering.request("GET", f"/{path}")
    cookie = str(entering.getresponse().getheader("set-cookie")).split(";")[0]
    page = http.client.HTTPConnection(host)
    page.request("GET", "/", headers={"Cookie": cookie})
    events = http.client.HTTPConnection(host)
    events.request("GET", f"{page.getresponse().getheader('location')}/events", headers={"Cookie": cookie})
    answer = events.getresponse()
    while not ending.wait(0.5) and answer.read1():  # no more often: the time that this takes here is not the server's
        pass


if __name__ == "__main__":
    main()
