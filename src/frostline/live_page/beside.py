"""How does a run have its page? A process beside it, which ends with it however it ends: its input closes then.

`python -m frostline.live_page FD` is that process (`__main__`). The run binds the socket FD, so that what is wrong with
the port is told before anything begins; the first line of its input says what to show.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from frostline.live_page.serve import bound_socket, how_to_enter, new_token, require_server

GRACE_SECONDS = 10.0
"""How long its page may take to end after a run; then it is ended."""


@contextmanager
def page_beside(run_folder: Path, tell: Callable[[str], None], port: int | None = None) -> Iterator[None]:
    """As long as the block lasts, a process serves the page of `run_folder`, which may not be there yet.

    `tell` is told its address. Raises `FrostlineError` where there is no port, or a package is missing.
    """
    require_server()
    token = new_token()
    with bound_socket(port) as bound:
        number = bound.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "frostline.live_page", str(bound.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[bound.fileno()],
            start_new_session=True,  # Ctrl+C is the run's: the page goes on until that has saved
        )
    try:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write((json.dumps({"folder": str(run_folder.absolute()), "token": token}) + "\n").encode())
            process.stdin.flush()
        for line in how_to_enter(number, token):
            tell(line)
        yield
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(BrokenPipeError):
        assert process.stdin is not None
        process.stdin.close()
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
