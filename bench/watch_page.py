"""Does a run take longer while somebody watches it? Step times with the live page open and without, in turns.

    python -m bench.watch_page [ROUNDS] [--recipe RECIPE] [--steps N] [--reader chromium|events]

In each round the same recipe runs twice, in an order that turns round: once alone, once with `--watch` and a page open
on it: in Chromium, which draws on the same cores, or by a reader of its events, as where the browser stands on another
machine. Arms are trained anew each time. Printed are the ratio of the median step times, for each round and over all of
them, and that of the whole runs. For a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import http.client
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from frostline.machine import describe_machine
from frostline.run_folder import StepTaken, read_journal, records_of

Reader = Callable[[str, threading.Event], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    parser.add_argument("--recipe", default="src/frostline/recipe/library/demo.yaml")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--reader", choices=("chromium", "events"), default="chromium" if _chromium() else "events")
    arguments = parser.parse_args()
    look = _look_in_chromium if arguments.reader == "chromium" else _read_events
    for name, value in describe_machine().items():
        print(f"{name}: {value}")
    print(f"watched by: {arguments.reader}")
    with tempfile.TemporaryDirectory() as folder:
        steps, runs = [], []
        for round_number in range(arguments.rounds):
            found: dict[bool, tuple[float, float]] = {}
            for watched in (False, True) if round_number % 2 == 0 else (True, False):
                out = Path(folder) / f"{round_number}-{watched}"
                found[watched] = _run(arguments.recipe, arguments.steps, out, look if watched else None)
            steps.append(found[True][0] / found[False][0])
            runs.append(found[True][1] / found[False][1])
            print(
                f"round {round_number}: step {1000 * found[False][0]:.1f} ms alone, "
                f"{1000 * found[True][0]:.1f} ms watched,"
                f" ratio {steps[-1]:.4f}; whole run {found[False][1]:.1f} s, ratio {runs[-1]:.4f}",
                flush=True,
            )
    print(f"step, watched over alone: median {statistics.median(steps):.4f}, {min(steps):.4f} to {max(steps):.4f}")
    print(f"whole run, watched over alone: median {statistics.median(runs):.4f}, {min(runs):.4f} to {max(runs):.4f}")


def _run(recipe: str, steps: int, out: Path, look: Reader | None) -> tuple[float, float]:
    """Median over the arms of their median step time, and the seconds of the whole run."""
    settings = [f"training.steps={steps}", "training.learning_rate=2e-4", "seeds=[0]", "measures.memory=false"]
    settings += ["measures.sampling.prompts=0", "measures.evaluate_every=0"]  # steps are what is timed
    command = [sys.executable, "-m", "frostline", "run", recipe, "--out", str(out), "--fresh", "--json"]
    for setting in settings:
        command += ["--set", setting]
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, *(["--watch"] if look else [])],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stderr is not None
        with _page_open(process.stderr.readline().split()[-1], look) if look else nullcontext():
            told = process.stderr.read()
            code = process.wait()
    if code:
        raise SystemExit(f"the run failed: {told[-500:]}")
    took = time.perf_counter() - began
    by_arm: dict[str, list[float]] = {}
    for step in records_of(read_journal(out), StepTaken):
        if not step.untimed:
            by_arm.setdefault(step.arm, []).append(step.seconds)
    return statistics.geometric_mean(statistics.median(own) for own in by_arm.values()), took


def _chromium() -> str | None:
    with suppress(ImportError):
        import playwright  # noqa: F401

        return shutil.which("chromium")
    return None


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
        browser = started.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
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
    while not ending.is_set() and answer.readline():
        pass


if __name__ == "__main__":
    main()
