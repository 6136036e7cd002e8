"""Which process forks the others? One that has imported what they need: `python -m tests.builders.process_server`.

Each line of its input is an `Order`; it answers with the number of the process that it began, and with the exit status
of that process once it has ended.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

from tests.builders.quick import make_quick

IMPORTED = (
    "tests.builders.hooks",
    "frostline.advisor",
    "frostline.cli.command",
    "frostline.experiment.resume",
    "frostline.forecast",
    "frostline.report.gallery",
    "frostline.report.write",
    "frostline.terminal.run",
    "tests.builders.corpora",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.llama.modeling_llama",
)
"""Before the first fork: what most of the processes would import, each for itself."""


@dataclass(frozen=True)
class Order:
    """A process to begin."""

    command: Sequence[str]
    """What follows `python`: `-m MODULE` or `-c CODE`, and arguments."""
    output: str
    """File that what it prints is appended to."""
    errors: str
    """File for its standard error; may be that of the output."""
    folder: str
    """Working directory."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables beside those of the server."""
    hook: str = ""
    """What `hooks.install` changes in it."""
    quick: bool = False
    """Whether reports have no figures, and memory is measured in forks of it."""

    def line(self) -> str:
        return json.dumps(asdict(self))


def serve() -> None:
    """Take orders until there are no more."""
    for module in IMPORTED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # what is never looked at again stays shared with the forks
    print("ready", flush=True)
    for line in sys.stdin:
        order = Order(**json.loads(line))
        child = os.fork()
        if child == 0:
            sys.stdin.close()
            be_process(order)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def be_process(order: Order) -> NoReturn:
    """Be the process that is ordered, to its end."""
    from tests.builders import hooks  # not above: types are checked in what pytest imports after this module

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for place, name in ((1, order.output), (2, order.errors)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), place)
    kind, what, *arguments = order.command
    code = None
    try:
        sys.argv = [what, *arguments]
        os.chdir(order.folder)
        os.environ.update(order.environment)
        if order.quick:
            make_quick(pytest.MonkeyPatch(), run_in_fork)
        hooks.install(order.hook)
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        if code is None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1 if code is None else code)


def run_in_fork(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` gives for a command of this Python, from a fork of this process."""
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder) / "output", Path(folder) / "errors"
        child = os.fork()
        if child == 0:
            be_process(Order(command[1:], str(output), str(errors), str(Path.cwd())))
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        return subprocess.CompletedProcess(command, code, output.read_text(), errors.read_text())


if __name__ == "__main__":
    serve()
