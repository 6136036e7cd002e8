"""Real processes, begun quickly: a server imports everything once, and each process is a fork of it.

A fork that is killed is killed like any process. What Frostline computes with keeps no threads (OMP_NUM_THREADS=1) in
the process that is forked, so that its children begin as freshly started ones do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from tests.builders.process_server import Order

ROOT = Path(__file__).parents[2]


class Processes:
    """Processes of this Python, one at a time. The server starts when the first of them is asked for."""

    def __init__(self) -> None:
        self._child = 0
        self._runs = False

    def begin(
        self,
        arguments: Sequence[str],
        cache: Path,
        output: Path,
        hook: str = "",
        *,
        quick: bool = True,
        environment: Mapping[str, str] | None = None,
        module: str = "frostline",
    ) -> None:
        """Begin `frostline`, or `module`, with `arguments` and a cache folder; what it prints is appended to `output`.

        If `quick`, reports have no figures (drawing them takes seconds), and memory is measured in forks.
        """
        printed = str(output.absolute())
        environment = {**(environment or {}), "FROSTLINE_CACHE": str(cache)}
        command = ("-m", module, *arguments)
        self._begin(Order(command, printed, printed, str(Path.cwd()), environment, hook, quick))

    def send(self, number: int) -> None:
        """Send a signal to the process that runs; nothing where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child, number)

    def catches(self, number: int) -> bool:
        """Whether the process has a handler for a signal by now."""
        status = Path(f"/proc/{self._child}/status")
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            (mask,) = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigCgt:")]
            return bool(int(mask, 16) >> (number - 1) & 1)
        return False

    def wait(self) -> int:
        """Its exit status once it has ended; minus the signal's number where one killed it."""
        code = int(self._line())
        self._runs = False
        return code

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Return once it has `happened` while the process runs; fails where the process ends without it."""
        while not happened():
            try:
                os.kill(self._child, 0)
            except ProcessLookupError:
                assert happened(), f"the process ended before, with exit status {self.wait()}"
                return
            time.sleep(0.005)

    def run(self, arguments: Sequence[str], cache: Path, output: Path, hook: str = "", *, quick: bool = True) -> int:
        """Begin `frostline` and wait for its exit status."""
        self.begin(arguments, cache, output, hook, quick=quick)
        return self.wait()

    def python(
        self,
        *command: str,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        quick: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run what `python *command` would, where that is `-m MODULE` or `-c CODE`, and arguments."""
        with tempfile.TemporaryDirectory() as printed:
            output, errors = Path(printed) / "output", Path(printed) / "errors"
            place = str(folder or Path.cwd())
            self._begin(Order(command, str(output), str(errors), place, environment or {}, quick=quick))
            return subprocess.CompletedProcess(command, self.wait(), output.read_text(), errors.read_text())

    def run_command(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """What `subprocess.run` gives for a command that begins with this Python."""
        assert command[0] == sys.executable
        return self.python(*command[1:])

    def close(self) -> None:
        """End the server, and the process that runs."""
        if "_server" in vars(self):
            self._end()
            self._server.communicate(timeout=60)

    def _end(self) -> None:
        """End the process that a test which failed has left."""
        if self._runs:
            self.send(signal.SIGKILL)
            self.wait()

    def _begin(self, order: Order) -> None:
        self._end()
        assert self._server.stdin is not None
        self._server.stdin.write(f"{order.line()}\n")
        self._server.stdin.flush()
        self._child = int(self._line())
        self._runs = True

    @cached_property
    def _server(self) -> subprocess.Popen[str]:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.builders.process_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "DO_NOT_TRACK": "1"},
        )
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n", "the server of processes did not start"
        return server

    def _line(self) -> str:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line, "the server of processes has died"
        return line.strip()
