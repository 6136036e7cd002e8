"""Real `frostline` processes, begun quickly: one process imports everything once, each command is a fork of it.

A fork that is killed is killed like any process. What Frostline computes with keeps no threads (OMP_NUM_THREADS=1) in
the process that is forked, so that its children begin as freshly started ones do.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

SERVER = r"""
import json, os, signal, sys
sys.path.insert(0, os.getcwd())
import frostline.cli, frostline.experiment, frostline.report, frostline.stats, frostline.experiment.resume
import tests.builders.hooks as hooks
hooks.draw_only(int(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        sys.stdin.close()
        out = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(out, 1); os.dup2(out, 2)
        sys.argv = ["frostline", *order["arguments"]]
        code = 1
        try:
            os.environ["FROSTLINE_CACHE"] = order["cache"]
            hooks.install(order["hook"])
            frostline.cli.main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            import traceback
            traceback.print_exc()
        sys.stdout.flush(); sys.stderr.flush()
        os._exit(code)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""
EVERY_FIGURE = 1_000


class Frostline:
    """A server of forks. `figures`, if given, is how many each report has: drawing them all takes seconds."""

    def __init__(self, figures: int | None = None) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(EVERY_FIGURE if figures is None else figures)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
        assert self._line() == "ready"
        self._child = 0

    def begin(self, arguments: list[str], cache: Path, output: Path, hook: str = "") -> None:
        """Begin a command with a cache folder; its output is appended to `output`."""
        assert self._server.stdin is not None
        order = {"arguments": arguments, "cache": str(cache), "output": str(output), "hook": hook}
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        self._child = int(self._line())

    def send(self, number: int) -> None:
        """Send a signal to the command that runs; nothing where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child, number)

    def wait(self) -> int:
        """Its exit status once it has ended; minus the signal's number where one killed it."""
        return int(self._line())

    def run(self, arguments: list[str], cache: Path, output: Path, hook: str = "") -> int:
        """Begin and wait."""
        self.begin(arguments, cache, output, hook)
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self.send(signal.SIGKILL)
        self._server.stdin.close()
        self._server.wait(timeout=60)
        self._server.stdout.close()

    def _line(self) -> str:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line, "the server of processes has died"
        return line.strip()
